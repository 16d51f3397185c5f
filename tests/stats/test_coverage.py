"""The coverage study in small: bounds that hold cover, negative controls do not, and the program keeps what is done.

The whole study is ``make coverage``; its table stands in docs/explanation/certificates.md.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.certificates.best_of_n import abstention_truth, emitted_truth
from benchmarks.certificates.rates import bernoulli
from benchmarks.certificates.table import MARKS, outcome_word, table, write_table
from benchmarks.certificates.threshold import threshold_risk
from benchmarks.certificates.world import Outcome, Scenario, run, upper
from csrlhf.errors import UserError
from csrlhf.stats.bounds import clopper_pearson_upper

SCENARIOS = coverage.scenarios()
PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "certificates.md"


def of_kind(kind: str) -> list[Scenario]:
    return [scenario for scenario in SCENARIOS if scenario.kind == kind]


@pytest.mark.parametrize("scenario", of_kind("holds"), ids=lambda scenario: scenario.key)
def test_bounds_cover(scenario: Scenario) -> None:
    outcome = run(scenario, 150, seed=1)
    assert not outcome.under_covers(len(SCENARIOS)), f"{outcome.coverage} of {1 - outcome.delta}"


@pytest.mark.parametrize("scenario", of_kind("control"), ids=lambda scenario: scenario.key)
def test_negative_controls_fail(scenario: Scenario) -> None:
    # Student's misses by a few points of a hundred, the others by more
    outcome = run(scenario, 4000 if scenario.bound == "Student" else 500, seed=1)
    assert outcome.under_covers(len(SCENARIOS)), f"{outcome.coverage} of {1 - outcome.delta}"


def test_the_controls_of_the_design_are_among_them() -> None:
    bounds = {scenario.bound for scenario in of_kind("control")}
    assert {"Student", "naive flag rate"} <= bounds
    assert any("plug-in" in bound and "^N" in bound for bound in bounds)
    assert len({scenario.key for scenario in SCENARIOS}) == len(SCENARIOS)


def test_the_test_finds_a_bound_that_is_a_little_too_small() -> None:
    def simulate(rng: np.random.Generator, replicates: int):
        counts = rng.binomial(300, 0.05, replicates)
        return upper([clopper_pearson_upper(int(count), 300, 0.95) * 0.9 for count in counts], 0.05)

    assert run(Scenario("w", "b", 300, 0.05, simulate), 2000, 0).under_covers(len(SCENARIOS))


def test_the_noise_is_the_seeds_and_the_scenarios_alone() -> None:
    scenario = Scenario("world", "bound", 100, 0.1, bernoulli(0.05, 100, 0.1))
    assert run(scenario, 200, 0) == run(scenario, 200, 0)
    assert run(scenario, 200, 0).bound != run(scenario, 200, 1).bound
    other = Scenario("another world", "bound", 100, 0.1, bernoulli(0.05, 100, 0.1))
    assert run(other, 200, 0).bound != run(scenario, 200, 0).bound


def test_truths_against_brute_force() -> None:
    rng = np.random.default_rng(0)
    accept = rng.beta(0.5, 0.5, 200_000)
    assert abstention_truth(4) == pytest.approx(np.mean((1 - accept) ** 4), abs=3e-3)
    harm = rng.beta(0.25, 2.25, 100_000)[:, None]
    unsafe = rng.random((100_000, 4)) < harm
    accepted = rng.random((100_000, 4)) < np.where(unsafe, 0.3, 0.9)
    assert emitted_truth(4, "best") == pytest.approx((unsafe & accepted).any(axis=1).mean(), abs=4e-3)
    first = np.where(accepted.any(axis=1), unsafe[np.arange(100_000), accepted.argmax(axis=1)], False)
    assert emitted_truth(4, "first") == pytest.approx(first.mean(), abs=3e-3)
    assert threshold_risk(0.0, "miss_rate", 0.5) == pytest.approx(1 / (1 + np.e**2))
    assert threshold_risk(None, "miss_rate", 0.5) == 0.0


def outcome(kind: str, coverage_share: float) -> Outcome:
    p_value = 1e-9 if coverage_share < 0.95 else 0.5
    return Outcome("w", "b", 10, 0.05, kind, 5000, coverage_share, 0.1, 0.05, p_value)  # pyright: ignore


def test_words_of_the_table() -> None:
    assert outcome_word(outcome("holds", 0.96), 2) == "holds"
    assert outcome_word(outcome("holds", 0.90), 2) == "UNDER-COVERS"
    assert outcome_word(outcome("control", 0.90), 2) == "fails, as it must"
    assert outcome_word(outcome("control", 0.96), 2) == "CONTROL DID NOT FAIL"
    assert outcome_word(outcome("approximate", 0.90), 2) == "approximate: too rarely"
    lines = table([outcome("control", 0.90), outcome("holds", 0.96)]).splitlines()
    assert lines[2].endswith("| holds |")  # controls last


def test_a_page_keeps_what_stands_around_the_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n", encoding="utf-8")
    write_table("new", page)
    assert page.read_text(encoding="utf-8") == f"before\n{MARKS[0]}\nnew\n{MARKS[1]}\nafter\n"


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two quick scenarios in place of the study; the list collects how many replicates were drawn."""
    drawn: list[int] = []

    def counted(rng: np.random.Generator, replicates: int):
        drawn.append(replicates)
        return bernoulli(0.05, 100, 0.1)(rng, replicates)

    def never(rng: np.random.Generator, replicates: int):
        return upper(np.zeros(replicates), 0.05)

    chosen = [Scenario("w", "good", 100, 0.1, counted), Scenario("w", "bad", 100, 0.1, never, "control")]
    monkeypatch.setattr(coverage, "scenarios", lambda: chosen)
    return drawn


def test_the_program_keeps_what_is_done(tmp_path: Path, two: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{MARKS[0]}\n{MARKS[1]}\n", encoding="utf-8")
    call = ["--out", str(tmp_path / "out"), "--page", str(page)]
    with pytest.raises(UserError, match="leave --table away"):
        coverage.main([*call, "--table"])
    assert coverage.main([*call, "--replicates", "100"]) == 0
    assert "fails, as it must" in capsys.readouterr().out
    assert "| w |" not in page.read_text(encoding="utf-8")  # too few replicates for the page
    assert coverage.main([*call, "--replicates", "5000"]) == 0
    assert page.read_text(encoding="utf-8").count("| w |") == 2
    assert coverage.main([*call, "--replicates", "5000"]) == 0
    assert two == [100, 5000]  # the third call had nothing to do
    file = tmp_path / "out" / "coverage.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines()
    good = next(line for line in lines[2:] if "| good |" in line)
    file.write_text("\n".join([*(line for line in lines if line != good), good[:40]]), encoding="utf-8")  # killed
    coverage.main([*call, "--replicates", "5000"])
    assert two == [100, 5000, 5000]
    coverage.main([*call, "--replicates", "5000"])
    assert two == [100, 5000, 5000]


def test_the_program_fails_where_a_control_does_not(
    tmp_path: Path, two: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = coverage.scenarios()[0]
    control = Scenario("w", "control", 100, 0.1, good.simulate, "control")
    monkeypatch.setattr(coverage, "scenarios", lambda: [control])
    assert coverage.main(["--out", str(tmp_path), "--replicates", "200"]) == 1


def test_the_pages_table_is_the_whole_study() -> None:
    text = PAGE.read_text(encoding="utf-8").split(MARKS[0])[1].split(MARKS[1])[0]
    replicates = re.search(r"scenarios of ([\d,]+) replicates", text)
    assert replicates is not None
    assert int(replicates[1].replace(",", "")) >= coverage.FULL
    rows = {tuple(cell.strip() for cell in line.strip("|").split("|"))[:4] for line in text.splitlines() if "|" in line}
    for scenario in SCENARIOS:
        assert (scenario.world, scenario.bound, str(scenario.count), f"{1 - scenario.delta:g}") in rows
    assert "UNDER-COVERS" not in text
    assert "DID NOT FAIL" not in text
