"""Prompts that had a part in anything are refused, exactly or after normalisation; repeated ones count once."""

from __future__ import annotations

import pytest

from csrlhf.data.leaks import Known, PromptSet, untouched
from csrlhf.data.near_duplicates import normalise
from csrlhf.errors import UserError
from csrlhf.types import PromptRow


def known(*prompts: str, split: str = "train", generated: bool = False) -> Known:
    texts = {normalise(prompt): prompt for prompt in prompts}
    return Known((PromptSet(split, "sft", texts),), generated=generated)  # type: ignore[arg-type]  # a Split


def rows(*prompts: str) -> list[PromptRow]:
    return [PromptRow(prompt) for prompt in prompts]


@pytest.mark.parametrize("prompt", ["How do I bake bread?", "how do i BAKE bread", "how  do i bake bread ?!"])
@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("generated", [True, False])
def test_a_known_prompt_is_refused_however_it_is_written(prompt: str, split: str, generated: bool) -> None:
    with pytest.raises(UserError, match=rf"certify\.prompts=x.*1 of 2 prompts.*{split} prompts of stage=sft") as error:
        untouched(rows("something else", prompt), known("How do I bake bread?", split=split, generated=generated),
                  "certify.prompts=x", places={normalise(prompt): "x.jsonl:2"})  # fmt: skip
    assert "x.jsonl:2" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_known_file_is_refused_by_its_hash() -> None:
    files = Known(files={"1" * 64: "train data of stage=cost"})
    with pytest.raises(UserError, match=r"this file is the train data of stage=cost"):
        untouched(rows("new"), files, "certify.prompts=x", "1" * 64)
    assert untouched(rows("new"), files, "certify.prompts=x", "2" * 64).rows == tuple(rows("new"))


def test_repeated_prompts_count_once() -> None:
    found = untouched(rows("one", "two", "One!", "two", "three"), Known(), "k")
    assert [row.prompt for row in found.rows] == ["one", "two", "three"]
    assert found.repeated == 2


def test_near_duplicates_are_counted_not_refused() -> None:
    long = "please tell me in great detail how one bakes a loaf of bread at home in winter"
    found = untouched(rows(f"{long} now", f"{long} soon", "other"), known(f"{long} then"), "k")
    assert (found.near_duplicates, found.nearly_known) == (2, 2)
    assert found.compared == ("train prompts of stage=sft (1)",)
    assert untouched(rows(f"{long} now"), known(f"{long} then", generated=True), "k").nearly_known is None
