"""What is drawn: batches, other prompts and N change nothing, and ``first`` draws no more than it needs."""

from __future__ import annotations

from typing import Any

import pytest

from csrlhf.generation import Decoded, choose


@pytest.mark.parametrize("rule", ["best", "first"])
def test_batches_and_other_prompts_change_nothing(make: Any, threshold: float, prompts: list[Any], rule: str) -> None:
    settings = {"n": 4, "rule": rule, "threshold": threshold}
    together = make(batch_size=64, **settings)(prompts)
    assert_same(make(batch_size=3, **settings)(prompts), together)
    decoder = make(**settings)
    assert_same([decoder([prompt], index=[i])[0] for i, prompt in enumerate(prompts)], together)
    assert_same(decoder(prompts[::-1], index=[4, 3, 2, 1, 0])[::-1], together)


def assert_same(answers: list[Decoded], others: list[Decoded]) -> None:
    """The same texts and choices, scores up to rounding."""
    for one, other in zip(answers, others, strict=True):
        assert (one.prompt, one.response, one.tried) == (other.prompt, other.response, other.tried)
        assert [c.response for c in one.candidates] == [c.response for c in other.candidates]
        assert [c.accepted for c in one.candidates] == [c.accepted for c in other.candidates]
        assert one.reward == pytest.approx(other.reward)
        assert one.cost == pytest.approx(other.cost)


def test_samples_differ_and_depend_on_seed_and_number(make: Any) -> None:
    tries = make(n=8).candidates(["a", "a"])
    assert len({one.response for one in tries[0]}) > 3
    assert [one.response for one in tries[0]] != [one.response for one in tries[1]]
    assert make(n=8, seed=1).candidates(["a"])[0] != tries[0]
    assert make(n=8).candidates(["a"])[0] == tries[0]


def test_a_smaller_n_is_a_prefix_of_a_larger_one(make: Any, threshold: float, prompts: list[Any]) -> None:
    drawn = make(n=8, threshold=threshold).candidates(prompts)
    assert all(len(tries) == 8 for tries in drawn)
    for rule in ("best", "first"):
        for n in (1, 3, 8):
            answers = make(n=n, threshold=threshold, rule=rule)(prompts)
            chosen = [choose(tries[:n], rule) for tries in drawn]
            assert [None if said.abstained else said.response for said in answers] == [
                None if one is None else one.response for one in chosen
            ]
    assert [len(tries) for tries in make(rule="first", threshold=threshold).candidates(prompts, n=2)] == [2] * 5


def test_first_stops_at_the_accepted_one(make: Any, prompts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = make(n=8, rule="first", reward=None, threshold=1e9)
    calls: list[int] = []
    original = decoder.speaker.say
    monkeypatch.setattr(decoder.speaker, "say", lambda *args: calls.append(len(args[0])) or original(*args))
    answers = decoder(prompts)
    # Whoever says nothing at once is asked again, nobody else.
    assert calls[0] == 5
    assert sum(calls) == sum(said.tried for said in answers) < 15
    assert all(said.reward is None for said in answers)
