"""Which weights are trained, what a saved folder holds, and that nothing is left without a gradient."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreModel, ScoreSpec
from csrlhf.models.settings import Tuning
from csrlhf.models.tuning import merged, save_merged, tune

CAUSAL = ["llama", "qwen2", "gpt2", "gemma", "mistral", "bloom"]
ENCODERS = ["bert", "deberta-v2", "roberta", "distilbert", "electra"]
IDS = torch.tensor([[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]])

Trunk = Callable[[str], PreTrainedModel]
Letters = Callable[[str], PreTrainedTokenizerFast]


def logits(model: PreTrainedModel) -> Tensor:
    return model(input_ids=IDS, attention_mask=torch.ones_like(IDS))[0]


def train_a_little(model: PreTrainedModel) -> None:
    """Some large steps on whatever can be trained; every trainable weight must get a gradient."""
    for _ in range(3):
        model.zero_grad()
        logits(model).square().mean().backward()
        for name, weight in model.named_parameters():
            assert (weight.grad is not None) == weight.requires_grad, name
            if weight.grad is not None:
                weight.data -= 0.5 * weight.grad / (weight.grad.norm() + 1e-6)


@pytest.mark.parametrize("kind", CAUSAL)
def test_adapters_start_as_nothing_train_alone_and_are_merged_into_a_plain_folder(
    tiny_policy: Trunk, tmp_path: Path, kind: str
) -> None:
    model = tiny_policy(kind)
    before, start = logits(model), {name: weight.clone() for name, weight in model.named_parameters()}
    tune(model, Tuning("lora", rank=2))
    assert torch.equal(logits(model), before)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert trained
    assert all("lora_" in name for name in trained)
    train_a_little(model)
    after = logits(model)
    assert not torch.allclose(after, before, atol=1e-3)
    save_merged(model, tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(plain), after, atol=1e-4, rtol=1e-4)
    assert {name for name, _ in plain.named_parameters()} == set(start)  # no trace of the adapters
    assert torch.equal(logits(model), after)  # the trained model itself is left as it was


@pytest.mark.parametrize("kind", ENCODERS)
def test_adapters_of_score_models_are_merged_in_their_folders(
    tiny_trunk: Trunk, letter_tokenizer: Letters, tmp_path: Path, kind: str
) -> None:
    tiny_trunk(kind).save_pretrained(tmp_path / "backbone")
    letter_tokenizer(kind).save_pretrained(tmp_path / "backbone")
    spec = ScoreSpec(str(tmp_path / "backbone"), "mean", 16, tuning=Tuning("lora", rank=2, alpha=8.0))
    model = spec.build(("harm",)).eval()
    assert {"head.weight", "head.bias"} < {name for name, weight in model.named_parameters() if weight.requires_grad}
    train_a_little(model.backbone)
    model.save_pretrained(tmp_path / "saved")
    mask = torch.ones_like(IDS, dtype=torch.bool)
    again = ScoreModel.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(again(IDS, mask), model(IDS, mask), atol=1e-4, rtol=1e-4)
    assert not [name for name in again.state_dict() if "lora" in name]


def test_a_merged_copy_shares_what_no_adapter_changes(tiny_policy: Trunk) -> None:
    model = tiny_policy("llama")
    tune(model, Tuning("lora", targets=["q_proj"]))
    train_a_little(model)
    plain = dict(merged(model).named_parameters())
    own = {name.replace(".base_layer", ""): weight for name, weight in model.named_parameters() if "lora_" not in name}
    assert plain.keys() == own.keys()
    changed = {name for name, weight in plain.items() if weight.data_ptr() != own[name].data_ptr()}
    assert changed == {name for name in plain if "q_proj" in name}


def test_targets_choose_the_layers(tiny_policy: Trunk) -> None:
    model = tiny_policy("llama")
    tune(model, Tuning("lora", targets=["q_proj", "v_proj"]))
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, w in model.named_parameters() if w.requires_grad}
    assert adapted == {"q_proj", "v_proj"}
    assert model.get_submodule("model.layers.0.self_attn.q_proj.lora_A.default").weight.shape == (16, 16)
    with pytest.raises(UserError, match=r"tuning\.targets=\['nowhere'\]: "):
        tune(tiny_policy("llama"), Tuning("lora", targets=["nowhere"]))


@pytest.mark.parametrize("kind", [*CAUSAL, *ENCODERS])
def test_the_last_layer_and_the_final_norm_are_trained_and_all_of_it_has_gradients(
    tiny_trunk: Trunk, tiny_policy: Trunk, kind: str
) -> None:
    for model in (tiny_trunk(kind), *([tiny_policy(kind)] if kind in CAUSAL else [])):
        everything = {name for name, _ in model.named_parameters()}
        tune(model, Tuning("last_n", layers=1))
        trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
        assert any(".1." in name for name in trained)
        assert not any(".0." in name for name in trained)
        assert not any("embed" in name or "wte" in name or "lm_head" in name for name in trained)
        assert {name for name in everything if ".1." in name} <= trained
        train_a_little(model)


def test_last_n_by_name(tiny_policy: Trunk) -> None:
    model = tiny_policy("gpt2")
    tune(model, Tuning("last_n", layers=1))
    outside = {name for name, w in model.named_parameters() if w.requires_grad and ".h." not in name}
    assert outside == {"transformer.ln_f.weight", "transformer.ln_f.bias"}


def test_more_layers_than_there_are(tiny_policy: Trunk) -> None:
    with pytest.raises(UserError, match=r"tuning\.layers=3: llama has 2 numbered layers"):
        tune(tiny_policy("llama"), Tuning("last_n", layers=3))


def test_full_trains_everything_and_saves_without_a_copy(tiny_policy: Trunk) -> None:
    model = tiny_policy("llama")
    tune(model, Tuning())
    assert all(weight.requires_grad for weight in model.parameters())
    assert merged(model) is model


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "half"}, r"tuning\.method=half: must be one of full, lora, last_n"),
        ({"rank": 8}, r"tuning\.rank=8: has no meaning with tuning\.method=full; set tuning\.method=lora"),
        ({"method": "full", "layers": 1}, r"tuning\.layers=1: .*set tuning\.method=last_n\|lora, or leave"),
        ({"method": "lora", "rank": 0}, r"tuning\.rank=0: must be above 0"),
        ({"method": "lora", "rank": 1.5}, r"tuning\.rank=1\.5: must be a whole number"),
        ({"method": "lora", "alpha": "big"}, r"tuning\.alpha=big"),
        ({"method": "last_n", "layers": -1}, r"tuning\.layers=-1"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tuning(**settings)


def test_without_peft_the_message_says_what_to_install(tiny_policy: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"needs PEFT .*pip install 'csrlhf\[lora\]'"):
        tune(tiny_policy("llama"), Tuning("lora"))
