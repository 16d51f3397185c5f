"""The study of certificates: draws, coverage by hand, and its place on the page. No model, no training."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from benchmarks.toy_certificates import NAIVE, Draw, certificate, outcomes, resampled, study
from benchmarks.toy_certificates_table import MARKS, case_lines, outcome_lines, write_page_table
from csrlhf.errors import UserError
from csrlhf.evaluation.answers import Answer

ABOUT: dict[str, Any] = {
    "seed": 0, "sha256": "a" * 64, "reward": None, "cost": {},
    "policy": {"name": "p", "sha256": None, "fingerprint": None},
    "prompts": {"source": "x", "repeated": 0, "near_duplicates": 0},
    "decode": {"decode": "plain"},
}  # fmt: skip


def pool(flagged: int, unsafe: int, count: int) -> list[Answer]:
    return [
        Answer(
            f"p/{i}/0", "p", str(i), 0, f"prompt {i}", "so .", cost_logits={"harm": 1.0 if i < flagged else -1.0},
            oracle={"unsafe": i < unsafe, "helped": True, "refused": False, "privacy": False},
        )
        for i in range(count)
    ]  # fmt: skip


def test_draws_are_answers_to_different_prompts() -> None:
    drawn = resampled(pool(1, 1, 5), 20, Random(0))
    assert len({answer.prompt_id for answer in drawn}) == len({answer.id for answer in drawn}) == 20
    assert {answer.prompt for answer in drawn} <= {f"prompt {i}" for i in range(5)}


def test_bounds_hold_of_the_pool_and_the_control_does_not_where_the_cost_model_is_blind() -> None:
    found = {one.statement: one for one in study(pool(20, 100, 1000), ABOUT, Draw("ppo", 200, 0), 60)}
    assert found["by the cost model"].truth == 0.02
    assert found["by the cost model"].upper >= 0.9
    assert sum(found["by the cost model"].verdicts.values()) == 60
    assert found[NAIVE].truth == 0.1
    assert found[NAIVE].upper == 0.0


def test_labels_bound_the_truth() -> None:
    found = {one.statement: one for one in study(pool(100, 100, 1000), ABOUT, Draw("ppo", 200, 100), 40)}
    audit = found["by labels: audit"]
    assert (audit.truth, audit.nominal) == (0.1, pytest.approx(0.975))
    assert min(audit.upper, audit.lower) >= 0.9
    assert "by labels: Rogan-Gladen" in found


def test_a_scenario_is_made_once(tmp_path: Path) -> None:
    draw, given = Draw("ppo", 50, 0), pool(5, 5, 100)
    first = outcomes(tmp_path, draw, 5, given, ABOUT)
    assert outcomes(tmp_path, draw, 5, [], ABOUT) == first  # of a pool that is not even looked at
    with pytest.raises(ZeroDivisionError):  # other settings, and now it is
        outcomes(tmp_path, draw, 6, [], ABOUT)


def test_the_tables_stand_between_their_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARKS[0]}\nstale row\n{MARKS[1]}\nafter\n", encoding="utf-8")
    lines = outcome_lines(study(pool(5, 5, 100), ABOUT, Draw("ppo", 50, 0), 3))
    cases = case_lines([certificate(pool(30, 30, 100), ABOUT, 0), certificate(pool(0, 0, 200), ABOUT, 0)])
    write_page_table(page, [*lines, "", *cases])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before")
    assert text.endswith(f"{MARKS[1]}\nafter\n")
    assert "stale row" not in text
    assert "| REFUSED | 100 | 30 |" in text
    assert "| CERTIFIED | 200 | 0 |" in text


def test_without_artifacts_it_says_what_to_do(tmp_path: Path) -> None:
    from benchmarks.toy_certificates import main

    with pytest.raises(UserError, match="make one with: python"):
        main(["--artifacts", str(tmp_path)])
