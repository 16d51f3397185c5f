"""Label until it is decided: the old habit certifies what it must not, the betting martingale does not; who saves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from benchmarks import audits
from benchmarks.certificates.audits import (
    CostModel,
    audit_of,
    audit_scenarios,
    fixed_labels,
    looks_ends,
    plain_ends,
    stratified_ends,
)
from benchmarks.certificates.world import run
from csrlhf.evaluation.answers.records import Answer, write_answers
from csrlhf.stats.audits import Audit, decision
from csrlhf.stats.bounds import clopper_pearson_upper


@pytest.mark.parametrize(("every", "longest"), [(50, 1000), (100, 1000), (50, 2000)])
@pytest.mark.parametrize("threshold", [0.03, 0.05])
def test_a_fixed_n_bound_that_is_looked_at_again_certifies_too_much(every: int, longest: int, threshold: float) -> None:
    """The reproduction: 13.3 to 19.8 % false certificates where 5 % is promised, exactly computed."""
    assert 0.13 < looks_ends(threshold, threshold, 0.95, every, longest).certified < 0.20


def test_one_look_keeps_the_promise() -> None:
    assert looks_ends(0.03, 0.03, 0.95, 500, 500).certified <= 0.05


@pytest.mark.parametrize("confidence", [0.95, 0.9])
@pytest.mark.parametrize("threshold", [0.03, 0.1])
def test_the_martingale_keeps_it_at_every_label(threshold: float, confidence: float) -> None:
    ends = plain_ends(threshold, threshold, confidence, 1500)
    assert 0.6 * (1 - confidence) < ends.certified <= 1 - confidence
    assert 0.2 * (1 - confidence) < ends.violated <= 1 - confidence


@pytest.mark.parametrize("model", [CostModel(0.95, 0.8), CostModel(0.1, 0.1)])
def test_stratified_audits_keep_it_too(model: CostModel) -> None:
    """At the threshold, for a good cost model and for one that is worth nothing; either verdict is the wrong one."""
    ends = stratified_ends(lambda rng: model.draw(rng, 0.03, 4000), 0.2, 300)
    for wrong in (ends.certified, ends.violated):
        assert binomtest(round(300 * wrong), 300, 0.05, alternative="greater").pvalue > 0.01


def test_rates_that_are_not_the_ones_in_the_design_are_noticed() -> None:
    """The negative control: what was labelled at 0.2 counts as if it were labelled at 1, and the misses vanish."""
    rng, model, certified = np.random.default_rng(0), CostModel(0.1, 0.1), 0
    for _ in range(100):
        unsafe, flagged = model.draw(rng, 0.06, 3000)
        audit = audit_of(rng, unsafe, flagged, 0.2)
        wrong = replace(audit, rate_L=np.ones(len(audit.rate_L)), least_rate=1.0)
        certified += decision(wrong, 0.03, 0.95)[0] == "CERTIFIED"
    assert certified > 50


def test_exact_and_simulated_agree() -> None:
    ends = plain_ends(0.01, 0.05, 0.95, 800)
    rng = np.random.default_rng(0)
    labels = [decision(Audit.plain(rng.random(800) < 0.01), 0.05, 0.95)[1] for _ in range(300)]
    assert np.mean(labels) == pytest.approx(ends.mean, rel=0.1)
    assert np.mean(np.array(labels) <= ends.most) == pytest.approx(0.8, abs=0.07)
    assert np.mean(np.array(labels) < ends.most - 1) < 0.8
    assert ends.certified + ends.violated + ends.undecided == pytest.approx(1.0)


def test_a_fixed_number_by_who_knows_the_rate() -> None:
    number = int(fixed_labels(0.0, 0.05, 0.95, 300))
    assert number == 59
    assert clopper_pearson_upper(0, number, 0.95) <= 0.05
    assert fixed_labels(0.05, 0.05, 0.95, 300) == np.inf
    assert fixed_labels(0.5, 0.05, 0.95, 300) < 10


def test_a_good_cost_model_saves_labels_and_a_bad_one_costs_few() -> None:
    plain = plain_ends(0.01, 0.03, 0.95, 2000)
    good, bad = (
        stratified_ends(lambda rng, one=model: one.draw(rng, 0.01, 6000), 0.2, 150)
        for model in (CostModel(0.95, 0.8), CostModel(0.1, 0.1))
    )
    assert good.mean < 0.7 * plain.mean
    assert bad.mean < 1.15 * plain.mean


def test_the_program_writes_table_and_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        Answer(f"sft/{i}/0", "sft", str(i), 0, "ask", "so .", cost_logits={"harm": 1.0 if i % 4 == 0 else -1.0},
               oracle={"unsafe": i < 10, "helped": True, "refused": False, "privacy": False})
        for i in range(40)
    ]  # fmt: skip
    write_answers(tmp_path / "answers.jsonl", answers, {})
    page = tmp_path / "page.md"
    page.write_text(f"before\n{audits.MARKS[0]}\nold\n{audits.MARKS[1]}\nafter\n", encoding="utf-8")
    small = {"RATES": (0.01, 0.09), "MODELS": (CostModel(0.9, 0.9),), "RESPONSES": 2000, "LONGEST": 800}
    for name, value in small.items():
        monkeypatch.setattr(audits, name, value)
    words = ["audits", "--replicates", "4", "--pool", str(tmp_path / "answers.jsonl"), "--page", str(page)]
    monkeypatch.setattr("sys.argv", [*words, "--image", str(tmp_path / "audits.png")])
    audits.main()
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "stratified: toy world, recall 0.30, 23.3 % of the safe flagged" in text
    assert text.count("betting, stratified") == 1
    assert text.count("| 1 % |") == 1
    assert (tmp_path / "audits.png").stat().st_size > 10_000


def test_the_study_says_which_rules_hold_whenever_labelling_stops() -> None:
    betting, looks, good, poor = (run(scenario, 400, 0) for scenario in audit_scenarios())
    assert looks.coverage < 0.9  # one in seven certificates of a rate above d
    assert min(outcome.coverage for outcome in (betting, good, poor)) > 0.93
