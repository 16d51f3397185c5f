"""Gradient checkpointing: the same numbers and gradients, in evaluation mode too, and fewer tensors kept."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from csrlhf.errors import UserError
from csrlhf.models.gradient_checkpointing import recompute_layers
from csrlhf.models.settings import Tuning
from csrlhf.models.tuning import merged, tune

Trunk = Callable[[str], PreTrainedModel]
IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])


def loss_of(model: PreTrainedModel) -> Tensor:
    model.config.use_cache = False  # as in training
    return model(input_ids=IDS, attention_mask=torch.ones_like(IDS))[0].square().mean()


def gradients(model: PreTrainedModel) -> dict[str, Tensor]:
    model.zero_grad()
    loss_of(model).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def kept_bytes(model: PreTrainedModel) -> int:
    """Of the tensors that a forward pass saves for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss_of(model)
    return sum(kept.values())


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "gemma", "mistral"])
def test_a_causal_model_in_evaluation_mode_has_the_same_gradients(tiny_policy: Trunk, kind: str, method: str) -> None:
    model = tiny_policy(kind).eval()
    torch.manual_seed(0)
    tune(model, Tuning(method))  # type: ignore[arg-type]  # a choice by its name
    plain, before, size = gradients(model), loss_of(model), kept_bytes(model)
    recompute_layers(model)
    assert torch.equal(loss_of(model), before)
    found = gradients(model)
    assert found.keys() == plain.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, plain[name])
    assert kept_bytes(model) < 0.7 * size


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
def test_an_encoder_in_training_mode_draws_the_same_dropout_twice(tiny_trunk: Trunk, kind: str) -> None:
    model = tiny_trunk(kind).train()
    twin = copy.deepcopy(model)
    tune(model, Tuning(gradient_checkpointing=True))
    torch.manual_seed(1)
    found = gradients(model)
    torch.manual_seed(1)
    for name, gradient in gradients(twin).items():
        torch.testing.assert_close(found[name], gradient)


def test_generation_with_a_cache_is_left_alone(tiny_policy: Trunk) -> None:
    model = tiny_policy("llama").eval()
    whole = model(input_ids=IDS, use_cache=False).logits
    recompute_layers(model)
    cache = DynamicCache(config=model.config)
    first = model(input_ids=IDS[:, :3], past_key_values=cache, use_cache=True).logits  # with gradients, on purpose
    second = model(input_ids=IDS[:, 3:], past_key_values=cache, use_cache=True).logits
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    (first.sum() + second.sum()).backward()
    assert cache.get_seq_length() == 5


def test_a_copy_recomputes_with_weights_of_its_own(tiny_policy: Trunk) -> None:
    model = tiny_policy("llama").eval()
    tune(model, Tuning("lora", rank=2, gradient_checkpointing=True))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert loss_of(model) == 0
    assert loss_of(twin) > 0
    assert sum(gradient.abs().sum() for gradient in gradients(twin).values()) > 0
    assert loss_of(merged(twin)) > 0


def test_a_model_without_such_layers_is_refused(tiny_policy: Trunk) -> None:
    model = tiny_policy("llama")
    model.model.layers = nn.ModuleList()
    with pytest.raises(UserError, match=r"tuning\.gradient_checkpointing=true: .*llama.*; set it to false"):
        tune(model, Tuning(gradient_checkpointing=True))
