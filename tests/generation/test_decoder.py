"""The decoder: what it shows, what it draws, what it is known by, and its mistakes."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import csrlhf
from csrlhf.errors import UserError
from csrlhf.generation import Decoded, Decoder, choose, decode


@pytest.mark.parametrize("rule", ["best", "first"])
def test_what_is_shown_never_exceeds_the_threshold(make: Any, threshold: float, rule: str) -> None:
    decoder = make(n=3, rule=rule, threshold=threshold, refusal="no way")
    answers = decoder(list("abcdefghij"))
    for said in answers:
        accepted = [one for one in said.candidates if one.costs["harm"] <= threshold and one.response.strip()]
        assert accepted == [one for one in said.candidates if one.accepted]
        assert all((one.reward is not None) == one.accepted for one in said.candidates)
        assert said.abstained == (not accepted)
        if said.abstained:
            assert (said.response, said.tried) == ("no way", 3)
            continue
        assert said.cost["harm"] <= threshold
        wanted = accepted[0] if rule == "first" else max(accepted, key=lambda one: one.reward)
        assert (said.response, said.reward) == (wanted.response, wanted.reward)
        assert said.tried == (wanted.sample + 1 if rule == "first" else 3)
    assert any(not said.abstained for said in answers)


def test_a_threshold_that_nothing_passes_refuses_everything(make: Any, prompts: list[Any]) -> None:
    assert all(said.abstained and said.tried == 2 for said in make(n=2, threshold=-1e9, rule="first")(prompts))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0: must be a whole number from 1 to 65536"),
        ({"n": 2.5}, "n=2.5: must be a whole number"),
        ({"rule": "worst"}, "rule=worst: must be best or first"),
        ({"reward": None}, "rule=best: ranks by reward, and there is no reward model"),
        ({"greedy": True}, "n=8: greedy decoding draws the same response every time"),
        ({"refusal": " "}, "refusal=' ': is empty"),
        ({"batch_size": 0}, "batch_size=0: must be >= 1"),
        ({"temperature": 0}, r"temperature=0: must be > 0 \(for greedy: greedy=true\)"),
        ({"temprature": 1}, "temprature=1: no option of sampling; there are max_new_tokens"),
        ({"threshold": math.nan}, "threshold=nan: harm's must be a cost logit"),
        ({"threshold": "0"}, "threshold=0: harm's must be a cost logit"),
        ({"threshold": {"privacy": 0.0}}, "names privacy, the cost models score harm"),
        ({"max_new_tokens": 64}, "max_new_tokens=64: the policy has 64 positions"),
        ({"policy": "/nowhere/ppo"}, "/nowhere/ppo"),
        ({"cost": "tests/nowhere"}, "cost=tests/nowhere: there is no model folder"),
        ({"cost": "REWARD"}, "is a reward model: a high score would be taken for harm"),
        ({"reward": "COST"}, "scores harm and not reward"),
        ({"cost": ["COST", "COST_TWO"]}, "score harm; say which is meant"),
        ({"cost": []}, "cost: names no cost model"),
        ({"reward": "SFT"}, "without its score head"),
    ],
)
def test_mistakes(folders: Any, make: Any, options: dict[str, Any], message: str) -> None:
    known = {"REWARD": folders.reward, "COST": folders.cost, "COST_TWO": folders.cost_two, "SFT": folders.sft}

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return [filled(item) for item in value]
        return known.get(value, value) if isinstance(value, str) else value

    with pytest.raises(UserError, match=message):
        make(**{key: filled(value) for key, value in options.items()})


def test_numbers_of_prompts(make: Any) -> None:
    with pytest.raises(UserError, match="give one number >= 0 for each of the 2 prompts"):
        make()(["a", "b"], index=[1])
    assert make()([]) == []


def test_three_lines_of_python(folders: Any) -> None:
    answers = csrlhf.decode(folders.ppo, ["a", "b"], folders.reward, folders.cost, n=2, max_new_tokens=4)
    assert len(answers) == 2
    assert csrlhf.decode is decode
    assert csrlhf.Decoder is Decoder
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        csrlhf.nothing  # noqa: B018  # the attribute is what is tested


def test_importing_csrlhf_takes_no_time() -> None:
    code = "import csrlhf, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_decoding_the_tiny_world(tiny: ModuleType, make: Any) -> None:
    """The world's own prompts, as its source gives them."""
    prompts = [row.prompt for row in tiny.Source().prompts("test")]
    assert len(make(n=2)(prompts)) == len(prompts)


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


def test_sampling_is_that_of_the_policys_training(folders: Any, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(folders.ppo, folder)
    rollout = {"_target_": "csrlhf.generation.sampler.Sampler", "max_new_tokens": 9, "temperature": 0.5, "top_k": 3}
    record = {"fingerprint": "f" * 64, "config": {"rollout": rollout}}
    (folder / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    sampling = Decoder(folder, folders.reward, folders.cost, temperature=0.7).identity()["sampling"]
    assert (sampling["max_new_tokens"], sampling["temperature"], sampling["top_k"]) == (9, 0.7, 3)


def test_identity_names_what_the_answers_depend_on(folders: Any, make: Any) -> None:
    one = make(n=4).identity()
    assert one == make(n=4, batch_size=2, seed=5, refusal="no").identity()
    for change in (
        {"n": 5},
        {"threshold": 0.1},
        {"temperature": 0.9},
        {"policy": folders.sft},
        {"cost": folders.cost_two},
    ):
        assert make(**({"n": 4} | change)).identity() != one
    first = make(n=4, rule="first").identity()
    assert first["reward"] is None
    assert first == make(n=4, rule="first", reward=None).identity()
