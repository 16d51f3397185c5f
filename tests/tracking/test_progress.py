"""How far a loop is, and what displays show of it: names of metrics, numbers, times."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.tracking.progress import Progress, brief, clock, shown


def test_the_time_left_is_that_of_the_steps_of_this_process_and_runs_down() -> None:
    resumed = Progress("sft", total=100, done=60, offset=50, started=1000.0, stepped=1020.0)
    assert resumed.remaining(1020.0) == pytest.approx(80.0)  # 10 steps took 20 s, 40 are left
    assert resumed.remaining(1030.0) == pytest.approx(70.0)
    assert resumed.remaining(2000.0) == 0.0
    assert Progress("sft", total=100, done=50, offset=50, started=1000.0).remaining(1020.0) is None
    assert Progress("sft", total=None, done=60, started=1000.0, stepped=1020.0).remaining(1020.0) is None


def test_metrics_are_chosen_shortened_and_ordered() -> None:
    metrics = {"train/loss": 1.0, "constraint/harm/cost": 0.25, "other": 3.0}
    assert list(shown(metrics, ["constraint/*/cost", "train/loss"]).items()) == [("cost", 0.25), ("loss", 1.0)]


def test_metrics_that_share_a_word_keep_what_tells_them_apart() -> None:
    metrics = {"constraint/privacy/cost": 0.1, "constraint/harm/cost": 0.04, "penalty/harm/gate": 1.0, "policy/kl": 2.0}
    found = shown(metrics, ["constraint/*/cost", "penalty/*/gate", "policy/kl", "*/kl"])
    assert list(found.items()) == [("harm cost", 0.04), ("privacy cost", 0.1), ("gate", 1.0), ("kl", 2.0)]
    losses = shown({"train/loss": 1.0, "validation/loss": 2.0, "epoch": 3.0}, ["*/loss", "epoch"])
    assert losses == {"train loss": 1.0, "validation loss": 2.0, "epoch": 3.0}


def test_the_default_bar_shows_the_gate_of_one_constraint_and_of_two() -> None:
    conf = Path(__file__).parents[2] / "conf" / "callbacks" / "default.yaml"
    patterns = yaml.safe_load(conf.read_text(encoding="utf-8"))["progress"]["metrics"]
    assert shown({"penalty/gate": 0.5}, patterns) == {"gate": 0.5}
    two = {"penalty/harm/gate": 0.5, "penalty/privacy/gate": 0.0}
    assert shown(two, patterns) == {"harm gate": 0.5, "privacy gate": 0.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.23456, "1.235"), (-0.41549, "-0.42"), (0.0, "0.000"), (-1e-7, "0.000"), (123.456, "123.5"), (-1234.5, "-1234"),
     (99999.0, "99999"), (1.5e6, "2e6"), (math.nan, "nan"), (-math.inf, "-inf")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str) -> None:
    assert brief(value) == text


@given(st.floats(min_value=-9999, max_value=99999))
def test_numbers_of_usual_size_take_five_characters_at_most(value: float) -> None:
    assert len(brief(value)) <= 5
    assert float(brief(value)) == pytest.approx(value, abs=max(5e-3, abs(value) * 5e-3))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-:--"), (0.4, "0:00"), (65, "1:05"), (7265, "2:01:05"), (3 * 86400 + 4 * 3600, "3d 04h")],
)
def test_times_are_short(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text
