"""Best of N with tiny models: what is shown, and what cannot be decoded."""

from __future__ import annotations

import math
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import csrlhf
from csrlhf.errors import UserError
from csrlhf.generation import Decoder, decode


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
        ({"reward": "SFT"}, "holds no trained classifier"),
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
