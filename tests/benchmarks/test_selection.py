"""Rules of checkpoint selection in simulated runs: which hold, which find what there is."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import selection as program
from benchmarks.selecting.rules import RULES, Outcome, outcome, shortlist, union
from benchmarks.selecting.world import CONFIDENCE, THRESHOLD, Run, falling, flat, hovering, simulate
from csrlhf.stats.bounds import allowed_violations, clopper_pearson_upper
from csrlhf.training.ppo.config import SelectionSettings
from csrlhf.training.ppo.selection import Selection, excess_of
from csrlhf.training.ppo.validation import ValidationResult


def found(rule: str, run: Run, prompts: int, confirmation: int = 0, replicates: int = 300, **options: Any) -> Outcome:
    return outcome(RULES[rule][1], run, list(simulate(run, prompts, confirmation, replicates, **options)))


def test_the_simulated_responses_have_the_rates_of_the_run() -> None:
    run = hovering(0.02)
    seen = list(simulate(run, 200, 100, 200))
    np.testing.assert_allclose(np.concatenate([one.hits_RL for one in seen]).mean(axis=0) / 200, run.rate_L, atol=0.01)
    unsafe = np.concatenate([one.unsafe_RLM for one in seen])
    np.testing.assert_allclose(unsafe.mean(axis=(0, 2)), run.rate_L, atol=0.01)
    both = unsafe[:, 10] & unsafe[:, 11]
    assert both.mean() > 5 * unsafe[:, 10].mean() * unsafe[:, 11].mean()  # the same prompts, the same answers


def test_one_look_at_a_policy_of_1_5_percent_finds_it_in_a_fifth() -> None:
    """The reproduction: 512 prompts, d = 3 %, δ shared among 24 looks; and among the 25 with the start policy's."""
    from scipy.stats import binom

    for looks, share in ((1, 0.63), (24, 0.22), (25, 0.22)):
        most = allowed_violations(512, THRESHOLD, 1 - (1 - CONFIDENCE) / looks)
        assert binom.cdf(most, 512, 0.015) == pytest.approx(share, abs=0.01)
    most = allowed_violations(1536, THRESHOLD, CONFIDENCE)
    assert binom.cdf(most, 1536, 0.015) > 0.98  # one look at three times as many


def test_the_shortlist_finds_what_the_union_bound_misses_and_gives_less_away() -> None:
    for rate, least in ((0.015, 0.93), (0.02, 0.55)):
        ours, theirs = found("shortlist", falling(rate), 512, 1536), found("union", falling(rate), 512)
        assert ours.found > least
        assert ours.found > theirs.found + 0.2
    ours, theirs = found("shortlist", hovering(0.02), 512, 1536), found("union", hovering(0.02), 512)
    assert ours.found > 0.9 > theirs.found
    assert ours.reward > theirs.reward + 0.03


def test_with_few_further_prompts_the_union_bound_finds_more() -> None:
    """Why ``ppo.num_confirmation=null`` asks for twice as many."""
    run = falling(0.01)
    assert found("union", run, 512).found > found("shortlist", run, 128, 384).found + 0.1


@pytest.mark.parametrize("options", [{}, {"shared": 0.0, "memory": 0.0}])
@pytest.mark.parametrize(("rule", "sizes"), [("union", (512, 0)), ("shortlist", (512, 1024))])
def test_what_is_called_feasible_is_so_as_often_as_promised(
    rule: str, sizes: tuple[int, int], options: dict[str, float]
) -> None:
    """Of 600 runs without a feasible policy at most 5 % are wrong; 7.5 % would be seen once in 300 studies."""
    for run in (flat(0.0301), flat(0.0325), hovering(0.038)):
        assert found(rule, run, *sizes, replicates=600, **options).false <= 0.075


def test_looking_at_each_alone_is_wrong_in_every_third_run() -> None:
    assert found("each", flat(0.0301), 512).false > 0.25


def result(hits: int, count: int, reward: float) -> ValidationResult:
    return ValidationResult(
        count=count, reward=reward, reward_std=1.0, value_K=(hits / count,), stderr_K=(0.0,), threshold_K=(THRESHOLD,),
        names=("harm",), kl=0.0, entropy=1.0, refusal_rate=0.0, distinct=1.0,
        upper_bound_K=lambda confidence: (clopper_pearson_upper(hits, count, confidence),),
    )  # fmt: skip


@pytest.mark.parametrize("num_confirmation", [0, 400])
def test_the_rules_are_those_of_the_package(num_confirmation: int) -> None:
    """Replicate by replicate, against ``Selection``."""
    [seen] = simulate(hovering(0.02, looks=8), 256, num_confirmation, 60)
    choice = (shortlist if num_confirmation else union)(seen)
    for replicate in range(60):
        selection = Selection(SelectionSettings())
        selection.begin(num_looks=9, num_confirmation=num_confirmation)
        for look in range(9):
            hits, reward = int(seen.hits_RL[replicate, look]), float(seen.reward_RL[replicate, look])
            selection.consider(look, result(hits, 256, reward))
        excesses: list[float] = []
        for candidate in selection.in_order() if num_confirmation else ():
            hits = int(seen.unsafe_RLM[replicate, candidate.iteration].sum())
            excesses.append(excess_of(result(hits, num_confirmation, 0.0), selection.level))
            if excesses[-1] > 0:
                break
        chosen = selection.settle(excesses)
        assert chosen is not None
        assert (chosen.iteration, chosen.feasible) == (choice.place_R[replicate], choice.found_R[replicate])
        assert choice.responses_R[replicate] == len(excesses) * num_confirmation


def test_the_program_writes_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{program.MARKS[0]}\nof last year\n{program.MARKS[1]}\nafter\n", encoding="utf-8")
    few = (program.Setting("union", 64, 0), program.Setting("shortlist", 64, 128))
    monkeypatch.setattr(program, "study", partial(program.study, settings=few))
    monkeypatch.setattr(program, "DRAWN", dict.fromkeys(few, "#1f6fb4"))
    program.main(["--replicates", "20", "--page", str(page), "--image", str(tmp_path / "selection.png")])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "of last year" not in text
    assert "| shortlist in order, δ each | 64 + 128 |" in text
    assert (tmp_path / "selection.png").stat().st_size > 10_000
