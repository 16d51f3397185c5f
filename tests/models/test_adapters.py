"""Folders of adapters: small, read by every loader as the merged model, and refused where they do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.errors import UserError
from csrlhf.models.adapters import save_adapters
from csrlhf.models.loading import load_config, load_policy, load_trunk, model_hash
from csrlhf.models.policy import PolicySpec
from csrlhf.models.settings import Tuning
from csrlhf.models.tuning import merged, tune
from csrlhf.training.ppo.policy import PolicyModule

IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])
Policies = Callable[[str], PreTrainedModel]


def logits(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits


def moved(model: PreTrainedModel, seed: int = 0) -> PreTrainedModel:
    """With adapters that change what it says."""
    torch.manual_seed(seed)
    tune(model, Tuning("lora", rank=2))  # type: ignore[arg-type]  # a choice by its name
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn(weight.shape, generator=draws))
    return model


@pytest.fixture
def base(tiny_policy: Policies, tmp_path: Path) -> Path:
    tiny_policy("llama").save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    save_adapters(moved(load_policy(base)), tmp_path / "adapters", str(base))
    return tmp_path / "adapters"


def test_every_loader_reads_the_merged_model(base: Path, folder: Path) -> None:
    expected = merged(moved(load_policy(base)))
    torch.testing.assert_close(logits(load_policy(folder)), logits(expected))
    assert not torch.allclose(logits(load_policy(folder)), logits(load_policy(base)), atol=0.01)
    torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(folder)), logits(expected))
    states = load_trunk(folder)(input_ids=IDS).last_hidden_state
    torch.testing.assert_close(states, expected.base_model(input_ids=IDS).last_hidden_state)
    assert load_config(folder).hidden_size == load_config(base).hidden_size
    assert not (folder / "model.safetensors").exists()
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 40_000


def test_adapters_upon_adapters(base: Path, folder: Path, tmp_path: Path) -> None:
    model = moved(load_policy(folder), seed=1)
    save_adapters(model, tmp_path / "second", str(folder))
    torch.testing.assert_close(logits(load_policy(tmp_path / "second")), logits(model), atol=1e-5, rtol=1e-4)


def test_the_hash_is_of_the_base_as_well(tiny_policy: Policies, base: Path, folder: Path) -> None:
    before = model_hash(folder)
    other = tiny_policy("llama")
    with torch.no_grad():
        other.get_input_embeddings().weight[0, 0] += 1  # type: ignore[index,operator]  # an Embedding's
    other.save_pretrained(base)
    assert model_hash(folder) != before


def test_what_is_missing_or_does_not_fit_is_one_line(tiny_policy: Policies, base: Path, folder: Path) -> None:
    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            load_policy(folder)
        assert "\n" not in str(caught.value)

    weights = (folder / "adapter_model.safetensors").read_bytes()
    (folder / "adapter_model.safetensors").write_bytes(weights[:100])
    refused(r"adapters: its adapters do not fit .*base, or are broken")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    shutil.rmtree(base)
    refused(r"there is no model folder .*base")
    content = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps(content | {"base_model_name_or_path": None}), "utf-8")
    refused(r"adapter_config\.json: names no base_model_name_or_path")
    (folder / "adapter_config.json").write_text("{", encoding="utf-8")
    refused(r"adapter_config\.json: cannot be read")


def test_where_there_are_none_to_save_it_is_told_before_training(
    letter_tokenizer: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    adapters = Tuning("lora")  # type: ignore[arg-type]  # a choice by its name
    with pytest.raises(UserError, match=r"model\.policy\.save=adapters: .*tuning\.method=full trains no adapters"):
        PolicySpec("somewhere", save="adapters")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"a randomly initialised model has no folder"):
        PolicySpec(
            architecture={"model_type": "llama"},
            tokenizer=letter_tokenizer("llama"),
            tuning=adapters,
            save="adapters",  # type: ignore[arg-type]
        )
    with pytest.raises(UserError, match=r"model\.policy\.save=adapters"):
        PolicyModule({"sft": "a", "reward": "b", "cost": "c"}, save="adapters")  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_stages_save_adapters_that_the_next_one_reads(
    command_line: Callable, ppo: list[str], folders: object, tmp_path: Path, stage: str
) -> None:
    words = [word for word in ppo if not word.startswith("stage=")]
    lora = ["model.policy.tuning.method=lora", "model.policy.tuning.rank=2", "model.policy.save=adapters"]
    if stage == "sft":
        lora += [f"model.policy.path={folders.sft}", "model.policy.architecture=null", "model.policy.tokenizer=null"]  # type: ignore[attr-defined]
    outcome = command_line(f"stage={stage}", *words, *lora)
    assert outcome.code == 0, outcome.err
    made = tmp_path / "a" / ("sft" if stage == "sft" else "ppo/latest")
    assert (made / "adapter_model.safetensors").is_file()
    assert not (made / "model.safetensors").exists()
    base = folders.sft  # type: ignore[attr-defined]
    assert logits_of(made).shape == logits_of(base).shape
    if stage == "ppo":
        assert (made / "last" / "adapter_config.json").is_file()


def logits_of(folder: Path) -> Tensor:
    with torch.no_grad():
        return load_policy(folder)(input_ids=torch.tensor([[5, 6, 7]])).logits
