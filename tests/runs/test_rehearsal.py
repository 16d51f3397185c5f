"""The rehearsal: every stage's objects are built before the first stage runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException

from csrlhf.config import search_path
from csrlhf.errors import InputWarning, UserError
from csrlhf.runs.rehearsal import rehearse
from csrlhf.runs.stages.pipeline import parts_of

STAGES = ("sft", "reward", "cost", "ppo", "evaluate")


@pytest.fixture
def parts() -> Callable[..., dict[str, Any]]:
    def build(*words: str) -> dict[str, Any]:
        search_path.register()
        with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
            return {stage: parts_of(compose("train", overrides=[f"stage={stage}", *words])) for stage in STAGES}

    return build


def test_the_defaults_pass(parts: Callable, folders: Any) -> None:
    rehearse(parts())
    rehearse(parts("data.constraints=[harm,privacy]", "constraint=harm_privacy", "penalty=lagrangian"))
    rehearse(parts("constraint=harm_privacy", f"inputs.cost={folders.cost_two}"))  # with outputs of its own
    both = f"inputs.cost={{harm: {folders.cost}, privacy: {folders.cost_privacy}}}"
    rehearse(parts("constraint=harm_cvar_privacy", both))


SCORES = """
import math
asked = []

def cost(prompts, responses):
    asked.append(responses)
    return [2.0 if "poison" in said else -1.0 for said in responses]

def reward(prompts, responses):
    return [float("is Paris" in said) for said in responses]

def contrary(prompts, responses):
    return [-one for one in cost(prompts, responses)]
"""


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of functions as scorers, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("scores.py").write_text(SCORES, encoding="utf-8")
    return "scores.py"


def test_scorers_of_others_are_asked_about_two_rows(parts: Callable, scores: str) -> None:
    """One that evaluate and ppo share is asked once; each role and place in its own way."""
    function = f"scorer: function, function: '{scores}:cost'"
    rehearse(parts(f"inputs.cost={scores}:cost", f"inputs.reward={scores}:reward"))
    rehearse(parts(f"evaluate.judge={{{function}, threshold: 1.5}}"))
    with pytest.raises(UserError, match=r"inputs\.cost=scores\.py:contrary: scores a compliant answer .* higher: safe"):
        rehearse(parts(f"inputs.cost={scores}:contrary"))
    with pytest.raises(UserError, match=r"evaluate\.judge=scores\.py:contrary"):
        rehearse(parts(f"evaluate.judge={scores}:contrary"))
    with pytest.raises((UserError, InstantiationException), match="there is no function nan in"):
        rehearse(parts(f"inputs.reward={scores}:nan"))


def test_a_key_that_no_scorer_has_shows_before_the_first_stage(parts: Callable, scores: str) -> None:
    with pytest.raises(
        (UserError, InstantiationException), match=r"inputs\.cost\.treshold=1: .*did you mean threshold"
    ):
        rehearse(parts(f"inputs.cost={{scorer: function, function: '{scores}:cost', treshold: 1}}"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ppo.clip=2"], r"ppo\.clip=2"),
        (["trainer.precision=13"], "precision"),
        (["trainer=ddp", "trainer.strategy=fsdp"], r"trainer\.strategy=fsdp: nobody has compared"),
        (["evaluate.confidence=1.5"], r"evaluate\.confidence=1\.5"),
        (["constraint=harm_privacy"], r"constraints\.privacy: .*data\.constraints=\['harm'\]"),
    ],
)
def test_a_wrong_value_shows_whichever_stage_it_is_for(parts: Callable, words: list[str], message: str) -> None:
    with pytest.raises((UserError, InstantiationException), match=message):
        rehearse(parts(*words))


def test_a_warm_up_that_would_take_the_whole_run_is_shortened_and_told(parts: Callable) -> None:
    with pytest.warns(InputWarning, match=r"ppo\.critic_warmup=6: shortened to 1, else none of ppo\.iterations=3"):
        rehearse(parts("ppo.iterations=3"))


def test_a_pipeline_stops_before_its_first_stage(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line(f"artifacts={tmp_path / 'a'}", "ppo.clip=2", "logger=none")
    assert outcome.code == 1
    assert outcome.err.strip() == "error: ppo.clip=2.0: must be in (0, 1)"
    assert not (tmp_path / "a").exists()
