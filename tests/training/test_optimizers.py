"""The kinds of optimisers: state in 8 bits where it pays, and what is refused."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from csrlhf.errors import UserError
from csrlhf.training.optim import AdamW, AdamW8bit, build_optimizer
from csrlhf.training.settings import OptimizerSettings


def parameters() -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "embed_tokens.weight": (64, 80),
        "layers.0.weight": (64, 64),
        "layers.0.small": (63, 65),
        "norm.weight": (64,),
    }
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def stepped(kind: object, steps: int = 1, **settings: object) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    weights = parameters()
    optimizer = build_optimizer(weights.items(), OptimizerSettings(kind, 1e-2, **settings))  # type: ignore[arg-type]
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        for weight in weights.values():
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return weights, optimizer


def test_large_matrices_have_8_bit_states_and_embeddings_and_small_tensors_32() -> None:
    weights, optimizer = stepped(AdamW8bit())
    found = {name: optimizer.state[weight]["state1"].dtype for name, weight in weights.items()}
    assert found == {
        "embed_tokens.weight": torch.float32,
        "layers.0.weight": torch.uint8,  # 4096 elements
        "layers.0.small": torch.float32,  # 4095
        "norm.weight": torch.float32,
    }


def test_it_is_adamw_up_to_the_rounding_of_its_states() -> None:
    exact, rounded = stepped(AdamW(), 5)[0], stepped(AdamW8bit(), 5)[0]
    start = parameters()
    for name, weight in exact.items():
        moved = (weight - start[name]).abs().mean()
        assert (weight - rounded[name]).abs().mean() < 0.05 * moved, name


def test_without_bitsandbytes_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    monkeypatch.delitem(sys.modules, "csrlhf.training.blockwise", raising=False)
    with pytest.raises(UserError, match=r"needs bitsandbytes .*pip install bitsandbytes"):
        stepped(AdamW8bit())


def test_what_8_bits_do_not_go_with() -> None:
    with pytest.raises(UserError, match=r"fused=true: only optimizer=adamw.*set optimizer\.fused=false"):
        stepped(AdamW8bit(), fused=True)
    doubles = {"weight": nn.Parameter(torch.zeros(8, 8, dtype=torch.float64))}
    with pytest.raises(UserError, match=r"64 bits.*trainer\.precision"):
        build_optimizer(doubles.items(), OptimizerSettings(AdamW8bit(), 1e-2))
    with pytest.raises(UserError, match=r"optimizer\.min_8bit_size=-1"):
        AdamW8bit(min_8bit_size=-1)


def test_a_fused_step_leaves_the_loss_scale_to_the_scaler() -> None:
    """What Lightning asks before it clips under mixed precision."""
    plain, fused = stepped(AdamW(), 3), stepped(AdamW(), 3, fused=True)
    assert not getattr(fused[1], "_step_supports_amp_scaling", False)
    for name, weight in plain[0].items():
        torch.testing.assert_close(fused[0][name], weight)
