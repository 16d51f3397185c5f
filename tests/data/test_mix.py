"""Mixed sources: counts by hand, the same rows for the same seed, and what cannot be mixed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.mix import MixedData, _counts
from csrlhf.data.public.or_bench import OrBench
from csrlhf.data.source import DataSource, MissingRowsError
from csrlhf.errors import UserError
from csrlhf.runs import runner
from csrlhf.runs.stages import cost, evaluate


def table(folder: Path, name: str, count: int, **columns: Any) -> str:
    rows = [{"prompt": f"{name} {i} ?", **(columns or {"response": "so.", "label": "Safe"})} for i in range(count)]
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / f"{name}.jsonl")


@pytest.fixture
def two(tmp_path: Path) -> dict[str, DataSource | None]:
    """``a`` with 10 rows, ``b`` with 40, and a validation split of 4 in ``b`` alone."""
    big = JsonlData(table(tmp_path, "b", 40), table(tmp_path, "b_validation", 4))
    return {"a": JsonlData(table(tmp_path, "a", 10)), "b": big}


def origins(rows: list[Any]) -> Counter[str]:
    return Counter(row.prompt.split()[0] for row in rows)


def test_without_proportions_every_row_is_there_once(two: dict) -> None:
    mix = MixedData(two)
    rows = mix.labelled("train")
    assert isinstance(mix, DataSource)
    assert origins(rows) == {"a": 10, "b": 40}
    assert len({row.prompt for row in rows}) == 50
    assert [row.prompt.split()[0] for row in rows] not in (["a"] * 10 + ["b"] * 40, ["b"] * 40 + ["a"] * 10)


@pytest.mark.parametrize(
    ("proportions", "expected"),
    [
        ({"a": 1, "b": 1}, {"a": 10, "b": 10}),
        ({"a": 1, "b": 3}, {"a": 10, "b": 30}),
        ({"a": 0.1, "b": 0.9}, {"a": 4, "b": 40}),  # b's 40 rows are 90 %: 40 / 9 of a
        ({"a": 0, "b": 2}, {"b": 40}),
        ({"labelled": {"a": 1, "b": 2}}, {"a": 10, "b": 20}),
        ({"labelled": {"a": 1}}, {"a": 10}),
        ({"prompts": {"a": 1}}, {"a": 10, "b": 40}),
    ],
)
def test_counts_by_hand(two: dict, proportions: Any, expected: dict[str, int]) -> None:
    rows = MixedData(two, proportions).labelled("train")
    assert origins(rows) == expected
    assert len({row.prompt for row in rows}) == len(rows)


def test_proportions_are_of_one_kind_of_row(two: dict) -> None:
    mix = MixedData(two, {"prompts": {"a": 1, "b": 1}, "labelled": {"b": 1}})
    assert origins(mix.prompts("train")) == {"a": 10, "b": 10}
    assert origins(mix.labelled("train")) == {"b": 40}
    assert origins(mix.demonstrations("train")) == {"a": 10, "b": 40}


def test_the_seed_decides(two: dict) -> None:
    def taken(seed: int) -> list[str]:
        return [row.prompt for row in MixedData(two, {"a": 1, "b": 1}, seed).labelled("train")]

    assert taken(0) == taken(0)
    assert set(taken(0)) != set(taken(1))


def test_a_split_that_one_source_has(two: dict) -> None:
    mix = MixedData(two, {"a": 1, "b": 3})
    assert origins(mix.labelled("validation")) == {"b_validation": 4}
    assert mix.has("validation")
    assert not mix.has("test")
    with pytest.raises(UserError, match=r"data.test is not set in any of data.sources.a, data.sources.b"):
        mix.labelled("test")


def test_a_kind_that_one_source_has(tmp_path: Path, two: dict) -> None:
    pairs = {"response_0": "a", "response_1": "b", "better_response_id": 0}
    two["pairs"] = JsonlData(table(tmp_path, "pairs", 6, **pairs))
    assert origins(MixedData(two).preferences("train")) == {"pairs": 6}
    assert origins(MixedData(two, {"a": 1, "b": 1, "pairs": 1}).preferences("train")) == {"pairs": 6}
    with pytest.raises(MissingRowsError, match=r"data.sources.a: .*a.jsonl holds no preferences"):
        MixedData(two, {"preferences": {"a": 1, "pairs": 1}}).preferences("train")
    del two["pairs"]
    with pytest.raises(MissingRowsError, match=r"data.sources.a: .* holds no preferences.*; data.sources.b: "):
        MixedData(two).preferences("train")


def test_a_broken_row_is_not_taken_for_a_missing_kind(tmp_path: Path, two: dict) -> None:
    two["broken"] = JsonlData(table(tmp_path, "broken", 1, response="so.", label="odd"))
    with pytest.raises(UserError, match=r"broken.jsonl:1: label is 'odd'"):
        MixedData(two).labelled("train")


def test_sources_with_other_labels_are_refused_and_those_without_labels_are_not(tmp_path: Path, two: dict) -> None:
    two["c"] = JsonlData(table(tmp_path, "c", 3), constraints=["harm", "privacy"])
    with pytest.raises(UserError) as caught:
        MixedData(two)
    assert str(caught.value) == (
        "data.sources.c.constraints=['harm', 'privacy'] and data.sources.a.constraints=['harm'] differ: a mix has one "
        "set of labels, give both the same names in one order"
    )
    (tmp_path / "x.csv").write_text("prompt,category\nhow?,harm\n", encoding="utf-8")
    prompts = OrBench(test=str(tmp_path / "x.csv"), harmless=True)
    assert MixedData({"prompts": prompts, "c": two["c"]}).constraints == ("harm", "privacy")
    assert MixedData({"prompts": prompts}).constraints == ("harm",)


@pytest.mark.parametrize(
    ("proportions", "complaint"),
    [
        ({"a": 1}, "data.proportions={'a': 1}: give every source a share (0 leaves it out): a, b"),
        ({"a": 1, "c": 1}, "must give shares to some of the sources a, b, or to kinds of rows"),
        ({"a": 1, "b": -1}, "a share must be a number of at least 0, and one of them above 0"),
        ({"a": 0, "b": 0}, "one of them above 0"),
        ({"a": "much", "b": 1}, "a share must be a number"),
        ({"a": float("nan"), "b": 1}, "a share must be a number"),
        ({"labelled": {"c": 1}}, "data.proportions.labelled={'c': 1}: must give shares to some of the sources a, b"),
        ({"labelled": 3}, "data.proportions.labelled=3: must give shares"),
        ({"labelled": {"a": 1}, "b": 1}, "must give shares to some of the sources a, b, or to kinds"),
    ],
)
def test_proportions_that_are_none(two: dict, proportions: Any, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        MixedData(two, proportions)
    assert complaint in str(caught.value)


def test_a_source_that_is_null_is_left_out(two: dict) -> None:
    assert origins(MixedData(two | {"b": None}).labelled("train")) == {"a": 10}
    with pytest.raises(UserError, match=r"data.sources is empty"):
        MixedData({"a": None})


def test_places_hashes_and_rows_left_out_are_those_of_the_sources(two: dict) -> None:
    mix = MixedData(two)
    assert mix.places("train")["a 3"].endswith("a.jsonl:4")
    assert mix.places("train")["b 0"].endswith("b.jsonl:1")
    assert set(mix.hashes()) == {"a.train", "b.train", "b.validation"}
    assert mix.left_out == {}


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 500), min_size=1),
    st.lists(st.floats(0.01, 10), min_size=3, max_size=3),
)
def test_counts_are_in_proportion_and_one_source_is_used_up(available: dict[str, int], numbers: list[float]) -> None:
    shares = dict(zip("abc", numbers, strict=True))
    taken = _counts(available, shares)
    assert any(taken[name] == available[name] for name in available)
    size = min(available[name] / shares[name] for name in available)
    for name, count in taken.items():
        assert 1 <= count <= available[name]
        assert count == 1 or abs(count - size * shares[name]) <= 0.5


def test_a_mix_from_the_command_line(command_line: Callable, tmp_path: Path) -> None:
    asked, blue, no = ({"role": role, "content": text} for role, text in
                       (("user", "name a colour"), ("assistant", "blue"), ("assistant", "no")))  # fmt: skip
    turns = {"chosen": [asked, blue], "rejected": [asked, no]}
    pair = {"response_0": "so.", "response_1": "no.", "better_response_id": 0, "is_response_0_safe": True}
    words = [
        f"data.sources.pku_saferlhf.train={table(tmp_path, 'pku', 20, is_response_1_safe=False, **pair)}",
        f"data.sources.ultrafeedback.train={table(tmp_path, 'uf', 6, **turns)}",
        f"data.sources.ultrafeedback.validation={table(tmp_path, 'v', 1, **turns)}",
        "+data@data.sources.own=jsonl",
        f"data.sources.own.train={table(tmp_path, 'own', 30)}",
        "data.proportions={preferences: {pku_saferlhf: 1, ultrafeedback: 1}}",
    ]
    outcome = command_line("stage=data", "data=mix", *words, "leaks=ignore", f"artifacts={tmp_path}")
    assert outcome.code == 0, outcome.err
    numbers = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    assert numbers["data/train/preferences/rows"] == 12
    assert numbers["data/train/labelled/rows"] == 38 + 30  # a twentieth of PKU's 20 prompts is held out
    outcome = command_line(
        "stage=data", "data=mix", "data.sources.ultrafeedback=null", *words[:1], f"artifacts={tmp_path}"
    )
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))["data/train/preferences/rows"] == 19


def test_a_folder_that_is_none_is_said_at_once(tmp_path: Path, two: dict) -> None:
    assert MixedData(two, folder=str(tmp_path)).has("train")
    with pytest.raises(UserError, match=r"data\.folder=.*nowhere: is no folder"):
        MixedData(two, folder=str(tmp_path / "nowhere"))


def test_a_test_split_may_serve_other_stages_alone(tmp_path: Path) -> None:
    """Prompts for the evaluation beside labelled rows without a test split: the cost stage has nothing to test on."""
    prompts = JsonlData(table(tmp_path, "p", 3, category="harmful"), test=table(tmp_path, "t", 3, category="harmful"))
    mix = MixedData({"rows": JsonlData(table(tmp_path, "a", 10)), "prompts": prompts})
    assert mix.has("test")
    assert mix.offers("prompts", "test")
    assert mix.offers("labelled", "train")
    assert not mix.offers("labelled", "test")
    plans = {name: SimpleNamespace(declared=stage.STAGE) for name, stage in (("cost", cost), ("evaluate", evaluate))}
    loaded = SimpleNamespace(source=mix)
    assert not runner._has_test(loaded, plans["cost"])
    assert runner._has_test(loaded, plans["evaluate"])
    file = SimpleNamespace(source=prompts)  # a file that was named for the purpose and holds no labels is an error
    assert runner._has_test(file, plans["cost"])
