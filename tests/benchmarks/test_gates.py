"""A gate's mean weight on the bandit: short of λ* where it sees its own batch, right where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gates
from benchmarks.bandit.gates import duty_cycle, line, settled_multiplier
from benchmarks.bandit.problem import example

SIZE = {"steps": 900, "replicates": 40}


@pytest.mark.parametrize(("ratio", "short"), [(2.0, 0.86), (8.0, 0.76)])
def test_a_gate_on_its_own_batch_falls_short(ratio: float, short: float) -> None:
    found = line(example(), "batch", ratio, 0.3, **SIZE)
    assert found.weight < short
    assert found.upper < 0.5


@pytest.mark.parametrize("gate", ["leave_one_out", "previous"])
@pytest.mark.parametrize("ratio", [2.0, 4.0, 8.0])
def test_a_gate_on_other_draws_is_right(gate: str, ratio: float) -> None:
    found = line(example(), gate, ratio, 0.1, **SIZE)
    assert found.local == pytest.approx(1.0, abs=0.03)
    assert found.upper >= 0.95


def test_the_cost_ends_nearer_to_the_threshold_and_less_is_given_away() -> None:
    own, others = (line(example(), gate, 4.0, 0.1, **SIZE) for gate in ("batch", "leave_one_out"))
    assert own.cost < others.cost - 0.03 < 1
    assert others.lost < own.lost


@pytest.mark.parametrize(("scale", "duty"), [("mix", 0.5), ("reward", 0.125)])
def test_a_scale_that_follows_the_gate_makes_the_multiplier_inert(scale: str, duty: float) -> None:
    """At 8 λ* the gate has to be open an eighth of the time; whitening leaves it open for half of it."""
    assert duty_cycle(example(), scale, 8.0, 0.3, **SIZE) == pytest.approx(duty, rel=0.1)


def test_adaptive_settles_at_its_margin() -> None:
    assert settled_multiplier(example(), "batch", 0.1, 2000, 30) < 1.85
    assert settled_multiplier(example(), "leave_one_out", 0.1, 2000, 30) == pytest.approx(2.0, rel=0.05)


def test_the_program_writes_tables_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    marks = [f"{first}\nof last year\n{last}\n" for first, last in (gates.MARKS, gates.SCALE_MARKS)]
    page.write_text("".join(["before\n", *marks, "after\n"]), encoding="utf-8")
    words = ["gates", "--replicates", "2", "--steps", "60", "--page", str(page), "--image", str(tmp_path / "gates.png")]
    monkeypatch.setattr("sys.argv", words)
    gates.main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "of last year" not in text
    assert text.count("| `leave_one_out` |") == 9 + 1
    assert text.count("(`reward`) |") == 1
    assert (tmp_path / "gates.png").stat().st_size > 10_000
