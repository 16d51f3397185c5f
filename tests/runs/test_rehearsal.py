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


def test_the_defaults_pass(parts: Callable) -> None:
    rehearse(parts())
    rehearse(parts("data.constraints=[harm,privacy]", "constraint=harm_privacy", "penalty=lagrangian"))
    rehearse(parts("constraint=harm_privacy", "inputs.cost=elsewhere"))  # a cost model with outputs of its own
    rehearse(parts("constraint=harm_cvar_privacy", "inputs.cost={harm: here, privacy: there}"))


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
