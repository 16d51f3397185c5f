from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.runs.artifacts import fingerprint, folder_hash

BASE: dict[str, Any] = {
    "stage": "ppo",
    "config": {"ppo": {"kl_coef": 0.1, "iterations": 3}},
    "inputs": {"sft": "a"},
    "data": {"train": "b"},
    "version": "0.1.0",
}


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "sft"},
        {"config": {"ppo": {"kl_coef": 0.2, "iterations": 3}}},
        {"inputs": {"sft": "c"}},
        {"data": {"train": "c"}},
        {"version": "0.2.0"},
    ],
)
def test_everything_consumed_counts(change: dict[str, Any]) -> None:
    assert fingerprint(**BASE) != fingerprint(**(BASE | change))


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False) | st.text()))
def test_key_order_does_not_count(config: dict[str, Any]) -> None:
    backwards = dict(reversed(config.items()))
    assert fingerprint(**(BASE | {"config": config})) == fingerprint(**(BASE | {"config": backwards}))


def test_folder_hash_sees_names_and_contents_and_nothing_else(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x").write_text("1", encoding="utf-8")
    assert folder_hash(tmp_path / "one") == folder_hash(tmp_path / "two")
    (tmp_path / "two" / "deep" / "x").write_text("2", encoding="utf-8")
    assert folder_hash(tmp_path / "one") != folder_hash(tmp_path / "two")
    (tmp_path / "two" / "deep" / "x").rename(tmp_path / "two" / "deep" / "y")
    (tmp_path / "two" / "deep" / "y").write_text("1", encoding="utf-8")
    assert folder_hash(tmp_path / "one") != folder_hash(tmp_path / "two")
