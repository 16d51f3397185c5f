"""Rows that are too long, turns that a template refuses, pairs of equal responses: decided when the data is read."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csrlhf.data.demonstrations import DemonstrationDataModule, PTXData
from csrlhf.data.encoding import encode_prompt
from csrlhf.data.intake import Intake, shortened
from csrlhf.data.jsonl import JsonlData
from csrlhf.data.mix import MixedData
from csrlhf.data.prompt_sets import EvaluationData
from csrlhf.data.prompts import PromptDataModule, encode_batch
from csrlhf.data.score_data import LabelledDataModule, PreferenceDataModule
from csrlhf.data.settings import (
    BatchSettings,
    DemonstrationSettings,
    EvaluationPrompts,
    LabelledSettings,
    PromptSettings,
)
from csrlhf.errors import UserError
from csrlhf.types import PreferenceRow

LONG = "a b c d e f g h"
"""With the template's two tokens, ten."""


def table(folder: Path, *rows: dict[str, Any], **options: Any) -> JsonlData:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return JsonlData(str(path), validation=str(path), test=str(path), **options)


def prompts(tiny: ModuleType, source: Any, room: int = 6) -> PromptDataModule:
    return PromptDataModule(source, tiny.tokenizer(), PromptSettings(batch_size=2, max_prompt_tokens=room))


def responses(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"prompt": "a", "response_0": one, "response_1": other, "better_response_id": 0} for one, other in pairs]


def reward_rows(tiny: ModuleType, source: Any, room: int = 8) -> PreferenceDataModule:
    module = PreferenceDataModule(source, tiny.tokenizer(), BatchSettings(), room, 0)
    module.setup("validate")
    return module


# Prompts.


def test_a_long_prompt_is_an_error_before_anything_is_trained(tmp_path: Path, tiny: ModuleType) -> None:
    data = prompts(tiny, table(tmp_path, {"prompt": "a"}, {"prompt": LONG}))
    with pytest.raises(UserError) as caught:
        data.setup("fit")
    assert str(caught.value) == (
        f"{tmp_path / 'train.jsonl'}:2: 10 tokens are more than ppo.max_prompt_tokens=6 has room for (it begins: "
        f"{LONG!r}); 1 of 2 prompts (train) are too long, up to 10 tokens: raise ppo.max_prompt_tokens, or set "
        "data.too_long=skip (leaves them out) or data.too_long=truncate (cuts them)"
    )


def test_a_long_prompt_can_be_left_out(tmp_path: Path, tiny: ModuleType) -> None:
    data = prompts(tiny, table(tmp_path, {"prompt": "a"}, {"prompt": LONG}, {"prompt": "b c"}, too_long="skip"))
    with pytest.warns(
        UserWarning, match=r"data.train: 1 of 3 prompts are left out; the first: .*train.jsonl:2: longer"
    ):
        data.setup("fit")
    assert [row.prompt for row in data.rows["train"]] == ["a", "b c"]
    assert data.intake.record()["train"] == {
        "prompts": {"read": 3, "used": 2, "truncated": 0, "left_out": {"longer than ppo.max_prompt_tokens=6 tokens": 1}}
    }
    assert data.longest is not None
    assert data.longest[0] == 4


def test_a_long_prompt_can_keep_its_end(tmp_path: Path, tiny: ModuleType) -> None:
    data = prompts(tiny, table(tmp_path, {"prompt": "a"}, {"prompt": LONG}, too_long="truncate"))
    with pytest.warns(UserWarning, match=r"1 of 2 prompts are cut to ppo.max_prompt_tokens=6 tokens; .*:2: 10 tokens"):
        data.setup("fit")
    assert [row.prompt for row in data.rows["train"]] == ["a", "e f g h"]
    assert data.intake.record()["train"]["prompts"] == {"read": 2, "used": 2, "truncated": 1, "left_out": {}}
    assert data.batch(0).input_ids_BP.shape[1] <= 6


def test_prompts_are_encoded_once(tmp_path: Path, tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    data = prompts(tiny, table(tmp_path, *({"prompt": f"{a} {b}"} for a in "abc" for b in "de")))
    data.setup("fit")
    fresh = encode_batch(data.tokenizer, data.batch(1).rows, [0, 1], 6)
    monkeypatch.setattr("csrlhf.data.prompts.encode_prompt", None)  # not callable
    assert data.batch(1).input_ids_BP.tolist() == fresh.input_ids_BP.tolist()
    assert next(iter(data.val_dataloader())).prompt_mask_BP.shape == (6, 4)


def test_none_left_is_an_error(tmp_path: Path, tiny: ModuleType) -> None:
    data = prompts(tiny, table(tmp_path, {"prompt": LONG}, too_long="skip"))
    with pytest.raises(UserError, match=r"data.train: none of the 1 prompts is left \(1 x longer than .*train.jsonl:1"):
        data.setup("fit")


def test_files_of_an_evaluation_follow_the_data(tmp_path: Path, tiny: ModuleType) -> None:
    source = table(tmp_path, {"prompt": "a"}, {"prompt": LONG}, too_long="skip")
    files = EvaluationPrompts(prompts={"own": str(tmp_path / "train.jsonl")}, samples_per_prompt=2)
    data = EvaluationData(source, tiny.tokenizer(), files, max_prompt_tokens=6)
    with pytest.warns(UserWarning, match=r"data.test: 1 of 2 prompts are left out"):
        data.setup("test")
    assert [row.prompt for row in data.rows["test"]] == ["a", "a"]


def test_turns_that_the_template_refuses_are_broken_rows(tmp_path: Path, tiny: ModuleType) -> None:
    rows = [{"prompt": "a"}, {"prompt": [{"role": "system", "content": "b"}, {"role": "user", "content": "c"}]}]

    def strict(**options: Any) -> PromptDataModule:
        data = prompts(tiny, table(tmp_path, *rows, **options))
        refuses = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        data.tokenizer.chat_template = refuses + data.tokenizer.chat_template  # type: ignore[operator]  # a text
        return data

    with pytest.raises(UserError, match=r"train.jsonl:2: .*no system turn.*; data.bad_rows=skip leaves such rows out"):
        strict().setup("fit")
    data = strict(bad_rows="skip")
    with pytest.warns(
        UserWarning, match=r"1 of 2 prompts are left out; .*train.jsonl:2: the tokenizer's chat template"
    ):
        data.setup("fit")
    assert [row.prompt for row in data.rows["train"]] == ["a"]


def test_of_a_conversation_the_oldest_turns_go_first(tiny: ModuleType) -> None:
    words = tiny.tokenizer()
    system = {"role": "system", "content": "j"}
    turns = [{"role": role, "content": text} for role, text in [("user", "a b"), ("assistant", "c"), ("user", "d e f")]]
    assert shortened(words, tuple(turns), 6) == (turns[2],)
    assert shortened(words, (system, *turns), 8) == (system, turns[2])
    assert shortened(words, (system, *turns), 6) == (system, turns[2] | {"content": "e f"})
    with pytest.raises(UserError, match="a prompt cannot be cut to 2 tokens"):
        shortened(words, (system, *turns), 2)


@settings(max_examples=40)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=3, max_size=40), st.integers(3, 30))
def test_what_is_cut_fits_and_is_the_end(tiny: ModuleType, letters: list[str], room: int) -> None:
    words, text = tiny.tokenizer(), " ".join(letters)
    cut = shortened(words, text, room)
    assert isinstance(cut, str)
    assert text.endswith(cut)
    assert len(cut.split()) == min(len(letters), room - 2)
    assert len(encode_prompt(words, cut, room)) <= room


# Demonstrations.


def demonstrations(tiny: ModuleType, source: Any, room: int = 8) -> DemonstrationDataModule:
    data = DemonstrationDataModule(source, tiny.tokenizer(), DemonstrationSettings(2, max_tokens=room))
    data.setup("validate")
    return data


def decoded(tiny: ModuleType, data: DemonstrationDataModule) -> list[str]:
    return [tiny.tokenizer().decode(prompt + response) for prompt, response in data.encoded["train"]]


DEMOS = ({"prompt": "a", "response": "yes"}, {"prompt": "a", "response": LONG}, {"prompt": LONG, "response": "yes no"})


def test_by_default_a_response_is_cut_and_a_prompt_without_room_is_an_error(tmp_path: Path, tiny: ModuleType) -> None:
    with pytest.warns(UserWarning, match=r"1 of 2 demonstrations are cut to sft.max_tokens=8 tokens; .*:2: 12 tokens"):
        data = demonstrations(tiny, table(tmp_path, *DEMOS[:2]))
    assert decoded(tiny, data)[1] == "<user> a <assistant> a b c d e"
    with pytest.raises(UserError, match=r"train.jsonl:2: a prompt has 10 tokens, more than the 7"):
        demonstrations(tiny, table(tmp_path, DEMOS[0], DEMOS[2]))


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_demonstrations_can_be_left_out_or_cut(tmp_path: Path, tiny: ModuleType) -> None:
    skipped = demonstrations(tiny, table(tmp_path, *DEMOS, too_long="skip"))
    assert decoded(tiny, skipped) == ["<user> a <assistant> yes <eos>"]
    assert skipped.intake.counts["train"]["demonstrations"].left_out.total() == 2
    cut = demonstrations(tiny, table(tmp_path, *DEMOS, too_long="truncate"))
    assert decoded(tiny, cut)[1:] == ["<user> a <assistant> a b c d e", "<user> f g h <assistant> yes no <eos>"]
    with pytest.raises(UserError, match=r"train.jsonl:2: 12 tokens .* 2 of 3 demonstrations \(train\) are too long"):
        demonstrations(tiny, table(tmp_path, *DEMOS, too_long="error"))


def test_demonstrations_beside_ppo_follow_the_same_rule(tmp_path: Path, tiny: ModuleType) -> None:
    source = table(tmp_path, *DEMOS, too_long="skip")
    intake = Intake(source)
    with pytest.warns(UserWarning, match="2 of 3 demonstrations are left out"):
        data = PTXData(source, tiny.tokenizer(), 2, 8, 0, intake)
    assert len(data.rows) == 1
    assert intake.record()["train"]["demonstrations"]["used"] == 1


# Pairs and labelled responses.


def test_pairs_that_are_the_same_within_the_models_room_are_left_out(tmp_path: Path, tiny: ModuleType) -> None:
    source = table(tmp_path, *responses(("b c d e f g h i", "b c d e f j"), ("yes", "no"), ("b c  d", "b c d")))
    with pytest.warns(UserWarning, match="preference pairs are left out") as told:
        module = reward_rows(tiny, source)
    assert len(module._rows["validation"]) == 1
    assert module.intake.counts["validation"]["preference pairs"].left_out == {
        "the two responses are the same to the model within model.score.max_tokens=8": 1,
        "the two responses are the same to the model": 1,
    }
    assert len(told) == 3  # two reasons; and one pair was cut


def test_nothing_but_equal_pairs_is_an_error_whatever_the_source(tiny: ModuleType) -> None:
    class Own:
        def preferences(self, split: str) -> list[PreferenceRow]:
            return [PreferenceRow("a", "yes", " yes")] * 3

    with pytest.raises(
        UserError, match=r"none of the 3 preference pairs is left \(3 x the two responses are the same, so"
    ):
        reward_rows(tiny, Own())


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_long_pairs(tmp_path: Path, tiny: ModuleType) -> None:
    rows = responses(("yes", "no"), ("yes", LONG))
    cut = reward_rows(tiny, table(tmp_path, *rows))
    assert [len(pair.rejected) for pair in cut._rows["validation"]] == [5, 8]
    assert cut.intake.counts["validation"]["preference pairs"].truncated == 1
    assert len(reward_rows(tiny, table(tmp_path, *rows, too_long="skip"))._rows["validation"]) == 1
    with pytest.raises(UserError, match=r"1 of 2 preference pairs \(validation\) .* raise model.score.max_tokens"):
        reward_rows(tiny, table(tmp_path, *rows, too_long="error"))


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
@pytest.mark.parametrize("loss", ["semantic", "pairwise"])
def test_long_labelled_responses(tmp_path: Path, tiny: ModuleType, loss: Any) -> None:
    rows = [{"prompt": prompt, "response": f"{text} {LONG}"[: 2 * words - 1], "label": label}
            for prompt, words in (("a", 2), ("b", 9)) for text, label in (("i", "Safe"), ("j", "Unsafe"))]  # fmt: skip

    def loaded(**options: Any) -> LabelledDataModule:
        module = LabelledDataModule(
            table(tmp_path, *rows, **options), tiny.tokenizer(), LabelledSettings(loss=loss), 8, 0
        )
        module._rows["train"] = module._load("train")
        return module

    whole = 2 if loss == "pairwise" else 4
    assert len(loaded()._rows["train"]) == whole
    assert len(loaded(too_long="skip")._rows["train"]) == whole // 2
    with pytest.raises(UserError, match=r"are too long, up to 13 tokens: raise model.score.max_tokens"):
        loaded(too_long="error")


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_pairs_by_label_that_the_model_cannot_tell_apart(tmp_path: Path, tiny: ModuleType) -> None:
    rows = [
        {"prompt": "a", "response": f"{LONG} {end}", "label": label} for end, label in (("i", "Safe"), ("j", "Unsafe"))
    ]
    module = LabelledDataModule(table(tmp_path, *rows), tiny.tokenizer(), LabelledSettings(loss="pairwise"), 8, 0)  # type: ignore[arg-type]  # as YAML gives it
    with pytest.raises(
        UserError, match=r"none of the 1 pairs for cost.loss=pairwise is left \(1 x the two responses are"
    ):
        module._load("train")


# Sources.


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data.too_long=drop: must be error, skip, truncate, or null"):
        table(tmp_path, {"prompt": "a"}, too_long="drop")


def test_a_mix_follows_its_sources_or_its_own_key(tmp_path: Path) -> None:
    source = {name: table(tmp_path, {"prompt": "a"}, too_long=name) for name in ("skip", "error")}
    assert MixedData({"a": source["skip"], "b": source["skip"]}).too_long == "skip"
    with pytest.raises(UserError, match=r"data.sources.b.too_long=error and data.sources.a.too_long=skip differ"):
        MixedData({"a": source["skip"], "b": source["error"]})
    assert MixedData({"a": source["skip"], "b": source["error"]}, too_long="truncate").too_long == "truncate"
    assert MixedData({"a": source["skip"]}).bad_rows == "error"


def test_rows_that_the_source_left_out_are_in_the_record(tmp_path: Path, tiny: ModuleType) -> None:
    data = prompts(tiny, table(tmp_path, {"prompt": "a"}, {"prompt": ""}, bad_rows="skip"))
    with pytest.warns(UserWarning, match="1 of 2 rows are left out"):
        data.setup("fit")
    assert sum(data.intake.record()["train"]["left_out_by_the_source"].values()) == 1
