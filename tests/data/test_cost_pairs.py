"""Pairs for the pairwise cost loss: the source's own comparisons first, else what labels alone can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.pairs import cost_pairs, pair_by_label, pairs_by_label
from csrlhf.data.source import SPLITS
from csrlhf.data.toy.source import ToyData
from csrlhf.errors import UserError
from csrlhf.types import CostPairRow, LabelledRow

PAIR = {
    "prompt": "how?",
    "response_0": "so.",
    "response_1": "no.",
    "is_response_0_safe": True,
    "is_response_1_safe": True,
    "safer_response_id": 1,
}


def jsonl(folder: Path, *rows: dict[str, Any], **options: Any) -> JsonlData:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return JsonlData(str(path), **options)


def test_labels_pair_an_unsafe_and_a_safe_response_to_one_prompt() -> None:
    bad, good, other = (
        LabelledRow("a", "yes", (1.0,)),
        LabelledRow("a", "no", (0.0,)),
        LabelledRow("b", "yes", (1.0,)),
    )
    assert pairs_by_label([good, other, bad]) == [CostPairRow(good, bad, (-1.0,))]
    assert pairs_by_label([bad, bad, good]) == [CostPairRow(bad, good, (1.0,))] * 2
    assert pairs_by_label([bad, other]) == []
    assert pairs_by_label([bad, LabelledRow("a", "yes ", (0.0,))]) == []  # one response, and annotators who disagree


def test_constraints_are_ordered_each_for_itself() -> None:
    first, second = LabelledRow("a", "x", (1.0, 0.0, 1.0)), LabelledRow("a", "y", (0.0, 1.0, 1.0))
    assert pair_by_label(first, second).order == (1.0, -1.0, 0.0)


def test_a_comparison_orders_two_safe_responses(tmp_path: Path) -> None:
    first, second = LabelledRow("how?", "so.", (0.0,)), LabelledRow("how?", "no.", (0.0,))
    assert cost_pairs(jsonl(tmp_path, PAIR), "train") == [CostPairRow(first, second, (1.0,))]
    assert jsonl(tmp_path, PAIR | {"safer_response_id": 0}).cost_pairs("train")[0].order == (-1.0,)


def test_lines_without_a_comparison_are_paired_by_their_labels(tmp_path: Path) -> None:
    labelled = [{"prompt": "why?", "response": word, "label": word} for word in ("Safe", "Unsafe")]
    pairs = jsonl(tmp_path, PAIR, *labelled).cost_pairs("train")
    assert [(pair.first.prompt, pair.order) for pair in pairs] == [("how?", (1.0,)), ("why?", (-1.0,))]
    no_comparison = {key: value for key, value in PAIR.items() if key != "safer_response_id"}
    assert jsonl(tmp_path, no_comparison | {"is_response_0_safe": False}).cost_pairs("train")[0].order == (1.0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"safer_response_id": 2}, "safer_response_id is 2: it must be 0 or 1"),
        ({"is_response_1_safe": False}, "safer_response_id is 1, but that response is labelled unsafe"),
        ({"response_1": "so.", "is_response_0_safe": False}, "the two responses are the same and their labels differ"),
        ({"is_response_1_safe": None}, "the column is_response_1_safe is missing or empty"),
    ],
)
def test_a_broken_comparison_is_named_with_file_and_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"train\.jsonl:2: {message}"):
        jsonl(tmp_path, PAIR, PAIR | change).cost_pairs("train")


def test_a_comparison_of_equal_responses_is_left_out_and_counted(tmp_path: Path) -> None:
    data = jsonl(tmp_path, PAIR, PAIR | {"response_1": "so."})
    with pytest.warns(UserWarning, match=r"1 of 2 rows are left out; .*train\.jsonl:2: the two responses are the same"):
        assert len(data.cost_pairs("train")) == 1


def test_a_comparison_without_labels_is_named(tmp_path: Path) -> None:
    line = {key: value for key, value in PAIR.items() if not key.startswith("is_response")}
    with pytest.raises(UserError, match=r"train\.jsonl:1: safer_response_id needs the labels is_response_0_safe"):
        jsonl(tmp_path, line).cost_pairs("train")


def test_data_without_pairs_is_told_what_it_lacks(tmp_path: Path) -> None:
    data = jsonl(tmp_path, {"prompt": "why?", "response": "so.", "label": "Safe"})
    with pytest.raises(UserError, match=r"cost\.loss=pairwise: the train split holds no pairs"):
        cost_pairs(data, "train")


class LabelsOnly:
    """A source that never heard of pairs."""

    name, oracle, constraints = "labels", None, ("harm",)

    def labelled(self, split: str) -> list[LabelledRow]:
        return [LabelledRow("a", "yes", (1.0,)), LabelledRow("a", "no", (0.0,))]


def test_a_source_without_comparisons_is_paired_by_label() -> None:
    assert [pair.order for pair in cost_pairs(LabelsOnly(), "train")] == [(1.0,)]  # type: ignore[arg-type]  # labels will do


def test_the_toy_world_draws_as_many_dialogues_as_it_labels() -> None:
    data = ToyData(constraints=["harm", "privacy"], sizes={"labelled": dict.fromkeys(SPLITS, 300)})
    for split in SPLITS:
        pairs = data.cost_pairs(split)
        assert len(pairs) == 150
        assert all(pair.first.prompt == pair.second.prompt for pair in pairs)
        assert {pair.order[0] for pair in pairs} == {-1.0, 0.0, 1.0}
        assert pairs == data.cost_pairs(split)
    truth = [pair for pair in data.cost_pairs("test") if pair.order[0] == 1.0]
    assert all(data.oracle.judge(pair.first, pair.first.response).unsafe for pair in truth)  # type: ignore[arg-type]  # reads meta
