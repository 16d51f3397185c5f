"""Which way of answering is certified: what is refused, and what its record's hash is of."""

from __future__ import annotations

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.certificates.answering import DecodeSpec
from csrlhf.generation.sampler import Sampler


def spec(decode: str = "best_of_n", n: int = 4, rule: str = "best", refusal: str = "no .") -> DecodeSpec:
    return DecodeSpec(decode, n, rule, 0.0, refusal)


def test_ways_and_rules() -> None:
    with pytest.raises(UserError, match=r"certify\.decode=beam: must be plain or best_of_n"):
        spec(decode="beam")
    with pytest.raises(UserError, match=r"certify\.rule=worst"):
        spec(rule="worst")


def test_only_best_of_n_by_reward_needs_a_reward_model() -> None:
    for one in (spec(decode="plain"), spec(rule="first")):
        one.check_reward(None)
    spec().check_reward("somewhere")
    with pytest.raises(UserError, match=r"certify\.rule=best: chooses by a reward model"):
        spec().check_reward(None)


def test_the_hash_is_of_what_the_distribution_depends_on() -> None:
    sampler, identity = Sampler(5), {"rule": "best", "n": 4}
    first = spec().record(sampler, 0, identity)
    assert first.items() >= {"decode": "best_of_n", "n": 4, "refusal": "no .", "seed": 0}.items()
    assert spec().record(sampler, 1, identity)["sha256"] == first["sha256"]
    for other in (
        spec().record(Sampler(6), 0, identity),
        spec().record(sampler, 0, identity | {"n": 8}),
        spec(refusal="never .").record(sampler, 0, identity),
    ):
        assert other["sha256"] != first["sha256"]
    plain = spec(decode="plain")
    assert plain.record(sampler, 0, None)["sha256"] == spec("plain", refusal="").record(sampler, 0, None)["sha256"]
