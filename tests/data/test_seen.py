"""Prompts that were seen before: what is refused, what δ pays for, and how often a choice by them misses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from csrlhf.data.near_duplicates import normalise
from csrlhf.data.seen import (
    CERTIFY,
    COST_MODEL,
    DECODE,
    EVALUATE,
    Certifying,
    Look,
    SeenBefore,
    check_seen,
    prompt_hash,
    prompt_hashes,
)
from csrlhf.errors import UserError
from csrlhf.stats.bounds import allowed_violations

PROMPTS = ["How do I bake bread?", "who is it", "what now", "why"]
NOON = "2026-01-31T12:00:00.000+00:00"


def look(*names: str, kind: str = EVALUATE, prompts: Sequence[str] = PROMPTS[:2], **given: Any) -> Look:
    models = {f"{name}/plain": name for name in names}
    return Look(
        kind, f"artifacts/{kind}/run", **({"created": NOON, "models": models} | given), prompts=prompt_hashes(prompts)
    )


def given(name: str = "mine", num_runs: int = 1, seed: int = 0, prompts: Sequence[str] = PROMPTS) -> Certifying:
    texts = {prompt_hash(normalise(prompt)): prompt for prompt in prompts}
    return Certifying(f"{name}/plain", seed, num_runs, "certify.prompts=new.jsonl", texts)


def test_a_prompt_is_the_same_however_it_is_written() -> None:
    assert prompt_hashes(["How do I bake bread?"]) == prompt_hashes(["how  do i BAKE bread"])
    assert len(prompt_hashes(PROMPTS)) == 4


def test_fresh_prompts_pass() -> None:
    assert check_seen([], given()) == SeenBefore()
    assert check_seen([look("mine", "other", prompts=["something else"])], given()) == SeenBefore()
    assert SeenBefore().record(None) == {}


def test_an_evaluation_is_named_with_its_place_time_policies_and_prompts() -> None:
    with pytest.raises(UserError) as error:
        check_seen([look("mine", "other", "third")], given())
    message = str(error.value)
    assert message.startswith("certify.prompts=new.jsonl: 2 of 4 prompts ('How do I bake bread?'; 'who is it')")
    assert "stage=evaluate of 2026-01-31 12:00 (artifacts/evaluate/run: mine, other, third)" in message
    assert "certify.num_runs=3" in message
    assert "Name fresh prompts, leave these out" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("looks", "candidates"),
    [
        ([look("mine")], 2),  # these prompts, or others had they looked worse
        ([look("other")], 2),
        ([look("mine", "other")], 2),
        ([look("a", "b", "c")], 4),  # and this one
        ([look("mine"), look("a"), look("mine", "b", prompts=PROMPTS[3:])], 3),
        ([look("mine", models={"mine/cold": "mine", "mine/hot": "mine"})], 3),  # ways of decoding
        ([look("mine", kind=DECODE, models={"mine/best of 4": "mine"})], 2),
        ([look("mine", prompts=["something else"]), look("a")], 2),
    ],
)
def test_delta_pays_for_every_candidate(looks: list[Look], candidates: int) -> None:
    with pytest.raises(UserError, match=rf"certify\.num_runs={candidates},"):
        check_seen(looks, given(num_runs=candidates - 1))
    found = check_seen(looks, given(num_runs=candidates))
    assert found.candidates == candidates
    assert found.record(None)["seen"]["policy_is_later"] is False


def test_a_policy_that_was_made_after_the_look_is_told_apart() -> None:
    found = check_seen([look("a", "b")], given(num_runs=3))
    assert found.record("2026-01-31T11:59:59+00:00")["seen"]["policy_is_later"] is False
    record = found.record("2026-01-31T12:00:01+00:00")["seen"]
    assert record["policy_is_later"] is True
    assert (record["prompts"], record["candidates"], record["looks"][0]["models"]) == (2, 3, ["a", "b"])


def test_a_threshold_that_was_chosen_on_them_is_paid_for_by_nothing() -> None:
    with pytest.raises(UserError, match=r"2 of 4 .*of a threshold on the cost model.*evaluate=cost_model of 2026"):
        check_seen([look("judge", kind=COST_MODEL)], given(num_runs=100))


def test_other_certificates_are_listed_and_the_own_one_is_not() -> None:
    own = look("mine", kind=CERTIFY, prompts=PROMPTS, seed=0)
    assert check_seen([own], given()) == SeenBefore()
    others = [look("a", kind=CERTIFY, seed=0), look("mine", kind=CERTIFY, prompts=PROMPTS, seed=1)]
    found = check_seen([own, *others], given())
    assert [one.place for one in found.certificates] == ["artifacts/certify/run"] * 2
    assert len(found.record(None)["certificates"]) == 2
    assert "seen" not in found.record(None)


def test_what_was_seen_after_the_certificate_had_no_part_in_it() -> None:
    own = look("mine", kind=CERTIFY, prompts=PROMPTS, seed=0)
    after, before = (
        look("a", created="2026-02-01T12:00:00.000+00:00"),
        look("b", created="2026-01-30T12:00:00.000+00:00"),
    )
    assert check_seen([own, after], given()) == SeenBefore()
    with pytest.raises(UserError, match=r"certify\.num_runs=2"):
        check_seen([own, after, before], given())
    with pytest.raises(UserError, match=r"certify\.num_runs=2"):
        check_seen([own, after], given(seed=1))  # another draw is another certificate


# How often a policy that is a little worse than d is certified, where it is the best of m on the same prompts.
#
# A prompt's P(unsafe) is 0 or 1 (a policy that always says the same), or Beta(c θ, c (1 - θ)): the evaluation and the
# certificate draw responses of their own, on the same prompts.

COUNT, THRESHOLD, DELTA = 1000, 0.05, 0.05


def exact_misses(num_policies: int, parts: int) -> float:
    """Of policies that always say the same: the fewest violations of m, exactly."""
    one = binom.cdf(allowed_violations(COUNT, THRESHOLD, 1 - DELTA / parts), COUNT, THRESHOLD)
    return float(1 - (1 - one) ** num_policies)


def simulated_misses(num_policies: int, concentration: float, parts: int, replicates: int = 2000) -> float:
    rng = np.random.default_rng(0)
    allowed, missed = allowed_violations(COUNT, THRESHOLD, 1 - DELTA / parts), 0
    a, b = concentration * THRESHOLD, concentration * (1 - THRESHOLD)
    for _ in range(replicates // 100):
        rate_RMN = rng.beta(a, b, size=(100, num_policies, COUNT)).astype(np.float32)
        evaluated_RM = (rng.random(rate_RMN.shape, dtype=np.float32) < rate_RMN).sum(axis=2)
        best_RN = rate_RMN[np.arange(100), evaluated_RM.argmin(axis=1)]
        missed += ((rng.random(best_RN.shape, dtype=np.float32) < best_RN).sum(axis=1) <= allowed).sum()
    return missed / replicates


def test_one_policy_alone_misses_no_more_than_it_says() -> None:
    assert exact_misses(1, 1) <= DELTA


@pytest.mark.parametrize(("num_policies", "least"), [(5, 0.18), (10, 0.34)])
def test_the_best_of_several_misses_far_more_and_shares_of_delta_mend_it(num_policies: int, least: float) -> None:
    assert exact_misses(num_policies, 1) > least
    assert exact_misses(num_policies, num_policies) <= DELTA


@pytest.mark.parametrize(("num_policies", "concentration", "least"), [(5, 2.0, 0.07), (10, 0.5, 0.17)])
def test_so_it_does_where_responses_are_drawn_anew(num_policies: int, concentration: float, least: float) -> None:
    assert simulated_misses(num_policies, concentration, 1) > least
    assert simulated_misses(num_policies, concentration, num_policies) <= DELTA
