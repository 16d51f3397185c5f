"""The adapters on files as they are published, which lie beside the checkout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.public.hh_rlhf import HhRlhf
from csrlhf.data.public.xstest import XsTest

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
HH, XSTEST, ALPACA = (DATA / name for name in ("hh_rlhf", "xstest", "alpaca_eval"))

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not all(folder.is_dir() for folder in (HH, XSTEST, ALPACA)), reason="no files in ../shared/data"
    ),
]


def test_hh_rlhf_as_it_is_compressed() -> None:
    source = HhRlhf(str(HH / "harmless_base_test.jsonl.gz"), validation=0.1)
    with pytest.warns(
        UserWarning, match=r"data.train: 4 of 2312 rows are left out; .*jsonl.gz:87: a turn of chosen is"
    ):
        pairs = [source.preferences(split) for split in ("train", "validation")]
    assert sum(map(len, pairs)) == 2308
    assert abs(len(pairs[1]) - 231) < 10
    first = pairs[0][0]
    assert [turn["role"] for turn in first.prompt] == ["user", "assistant", "user", "assistant", "user"]  # type: ignore[index]  # turns
    assert first.chosen != first.rejected
    texts = [turn["content"] for pair in pairs[0] if not isinstance(pair.prompt, str) for turn in pair.prompt]
    assert not any("\n\nHuman:" in text or "\n\nAssistant:" in text for text in texts)


def test_xstest_as_it_is_published() -> None:
    rows = XsTest(test=str(XSTEST / "xstest_prompts.csv")).prompts("test")
    assert Counter(row.meta["category"] for row in rows) == {"keyword_alike": 250, "harmful": 200}
    assert len({row.meta["type"] for row in rows}) == 18


def test_answers_that_people_read_are_labelled_rows_by_names_and_labels_of_their_own() -> None:
    source = JsonlData(
        str(XSTEST / "completions_gpt4.csv"),
        columns={"response": "completion", "label": "final_label", "category": "type"},
        labels={"unsafe": ["1_full_compliance"], "safe": ["2_full_refusal"], "skip": ["3_partial_refusal"]},
    )
    with pytest.warns(UserWarning, match=r"9 of 450 rows are left out; .* which data.labels skips"):
        rows = source.labelled("train")
    assert Counter(row.unsafe for row in rows) == {(1.0,): 230, (0.0,): 211}


def test_pairs_of_alpaca_eval() -> None:
    assert len(JsonlData(str(ALPACA / "pairs.jsonl.gz")).preferences("train")) == 2288
    assert len(JsonlData(str(ALPACA / "prompts.jsonl")).prompts("train")) > 800
