"""The command line from Python: words, configs, stages in this process and in others, errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

import csrlhf
from csrlhf import api
from csrlhf.apps import cli
from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.stages import pipeline

TEXTS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12).filter(lambda text: "${" not in text)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z_ :=,-]{1,6}", fullmatch=True), inner)
    ),
    max_leaves=6,
)


def parsed(word: str) -> Any:
    """What Hydra makes of an override's value."""
    [override] = OverridesParser.create().parse_overrides([word])
    return override.value()


@given(VALUES.filter(lambda value: not isinstance(value, dict)))
def test_hydra_reads_back_what_was_written(value: Any) -> None:
    [word] = api.words_of({"a.b": value})
    assert parsed(word) == value
    assert type(parsed(word)) is type(value)


@given(st.dictionaries(st.sampled_from(["x", "self-harm", "a b", "a:b", "c=d", "e,f"]), VALUES))
def test_hydra_reads_back_mappings(value: dict[str, Any]) -> None:
    [word] = api.words_of({"a.b": value})
    assert parsed(word) == value


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"stage": "ppo", "resume": True, "objective": None}, ["stage=ppo", "resume=true", "objective=null"]),
        ({"ppo": {"clip": 0.1, "selection": {"price": 5}}}, ["ppo.clip=0.1", "ppo.selection={price:5}"]),
        ({"experiment": ["smoke", "safe_rlhf"]}, ["experiment=[smoke,safe_rlhf]"]),
        ({"artifacts": Path("/tmp/a b")}, ["artifacts='/tmp/a b'"]),
        (
            {"name": "null", "seed": np.int64(3), "ppo.kl_coef": np.float32(0.5)},
            ["name='null'", "seed=3", "ppo.kl_coef=0.5"],
        ),
        ({"name": "1e5"}, ["name='1e5'"]),
    ],
)
def test_settings_become_the_words_that_one_would_type(settings: Mapping[str, Any], words: list[str]) -> None:
    assert api.words_of(settings) == words


def test_overrides_follow_the_settings() -> None:
    assert api.words_of({"seed": 1}, ["~constraint", "+x=2"]) == ["seed=1", "~constraint", "+x=2"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": object()}, "seed: no override holds a value of type object"),
        ({"data": {"train": [object()]}}, r"data\.train: no override holds"),
        ({"overrides": "stage=sft"}, r"must be a list of words, \['stage=sft'\]"),
        ({"ppo": {"kl_coeff": 0.2}}, r"ppo\.kl_coeff: there is no such key; did you mean ppo\.kl_coef\?"),
        ({"ppo": {"selection": {"confidnce": 0.9}}}, r"did you mean ppo\.selection\.confidence\?"),
        ({"penalty": "lagrangan"}, "did you mean penalty=lagrangian"),
        ({"seed": "one"}, "seed=one: takes a whole number"),
        ({"overrides": ["+nothing=1"]}, r"\+nothing: nothing reads this key"),
        ({"overrides": ["--seed=1"]}, "without dashes"),
        ({"overrides": ["a b"]}, "cannot read the override 'a b'"),
    ],
)
def test_a_mistake_is_a_user_error_with_the_line_of_the_command_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        csrlhf.train(**settings)
    assert "\n" not in str(caught.value)


def test_a_bug_keeps_its_own_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    from csrlhf.runs import runner

    def broken(*_: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(runner, "execute", broken)
    with pytest.raises(KeyError, match="a bug"):
        csrlhf.train(stage="sft")


def test_compose_gives_the_config_that_the_command_line_has() -> None:
    cfg = csrlhf.compose("stage=ppo", penalty="lagrangian", **{"constraints.harm.threshold": 0.02})
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        words = ["stage=ppo", "penalty=lagrangian", "constraints.harm.threshold=0.02"]
        assert cfg == hydra_compose("train", overrides=words)


def test_composing_leaves_an_application_s_own_hydra_alone(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("x: 1\n", encoding="utf-8")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        HydraConfig.instance().set_config(hydra_compose("own", return_hydra_config=True))
        try:
            csrlhf.compose(penalty="linear")
            with pytest.raises(UserError, match="did you mean"):
                csrlhf.compose(seeed=1)
            assert hydra_compose("own").x == 1
            assert HydraConfig.get().job.config_name == "own"
        finally:
            HydraConfig.instance().cfg = None
    assert not GlobalHydra.instance().is_initialized()


def test_a_stage_runs_in_this_process_again_and_again(
    ppo: list[str], train: Callable[..., int], tmp_path: Path
) -> None:
    first = csrlhf.train(ppo)
    assert first.stage == "ppo"
    assert first.folder is not None
    assert first.folders == {"ppo": first.folder}
    assert json.loads((first.folder / "metrics.json").read_text(encoding="utf-8")) == pytest.approx(first.metrics)
    second = csrlhf.train(ppo, penalty="lagrangian")
    assert second.folder is not None
    assert second.folder.name.startswith("lagrangian-")
    assert train(*ppo) == 0  # the command line has the same folder for the same words
    assert sorted(path.name for path in first.folder.parent.iterdir() if not path.is_symlink()) == sorted(
        [first.folder.name, second.folder.name]
    )


def test_a_stage_without_a_result_has_numbers_alone(ppo: list[str], tmp_path: Path) -> None:
    done = csrlhf.train([word for word in ppo if word.startswith("data")], stage="data", artifacts=tmp_path)
    assert done.folder is None
    assert done.folders == {}
    assert done.metrics == json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have been started; the stages' results are there as if they had run."""
    started: list[list[str]] = []
    make_plan = pipeline.make_plan

    def made(*args: Any) -> Any:
        plan = make_plan(*args)
        plan.folder.mkdir(parents=True, exist_ok=True)
        artifacts.write_json(plan.folder / "metrics.json", {f"{plan.stage}/x": 1.0, "odd": None})
        artifacts.write_json(plan.folder / artifacts.RECORD, {"fingerprint": plan.fingerprint})
        if plan.stage == "ppo":
            artifacts.point_latest(plan.folder)
        return plan

    monkeypatch.setattr(api, "_run_program", started.append)
    monkeypatch.setattr(pipeline, "make_plan", made)
    monkeypatch.setattr(api, "make_plan", made)
    return started


def test_the_pipeline_runs_as_a_program_of_its_own(no_program: list[list[str]], tmp_path: Path) -> None:
    done = csrlhf.train(artifacts=tmp_path, pipeline={"evaluate": ["name=mine"]})
    assert no_program == [[*api.PROGRAM, f"artifacts={tmp_path}", "pipeline.evaluate=['name=mine']"]]
    assert list(done.folders) == ["sft", "reward", "cost", "ppo", "evaluate"]
    assert done.folder == done.folders["evaluate"] == tmp_path / "evaluate" / "mine"
    assert done.metrics == {f"{stage}/x": 1.0 for stage in done.folders}


def test_several_devices_run_as_a_program_of_its_own(no_program: list[list[str]], tmp_path: Path) -> None:
    settings = {"trainer": "ddp", "trainer.accelerator": "cpu", "trainer.devices": 2, "trainer.precision": "32-true"}
    done = csrlhf.train(stage="sft", artifacts=tmp_path, **settings)
    assert no_program[0][3:5] == ["stage=sft", f"artifacts={tmp_path}"]
    assert done.folders == {"sft": tmp_path / "sft"}


def test_an_error_of_another_process_is_raised_and_the_rest_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    script = (
        "import sys; print('one'); print('two', file=sys.stderr); print('error: x: no', file=sys.stderr); sys.exit(1)"
    )
    with pytest.raises(UserError, match=r"^x: no$"):
        api._run_program([sys.executable, "-c", script])
    printed = capsys.readouterr()
    assert printed.out == "one\n"  # into what stands for sys.stdout, as in a notebook's cell
    assert printed.err == "two\n"


def test_another_process_s_bug_and_interruption_are_told_apart() -> None:
    with pytest.raises(RuntimeError, match="exit code 3"):
        api._run_program([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(KeyboardInterrupt):
        api._run_program([sys.executable, "-c", f"raise SystemExit({cli.INTERRUPTED})"])
    api._run_program([sys.executable, "-c", ""])


def test_a_script_without_a_main_guard_runs_the_pipeline(tmp_path: Path) -> None:
    """Each stage's process would run the script once more if the pipeline were not a program of its own."""
    script = tmp_path / "script.py"
    script.write_text(
        "import csrlhf\nfrom csrlhf.errors import UserError\nprint('begin')\ntry:\n"
        f"    csrlhf.train(artifacts={str(tmp_path)!r}, pipeline={{'ppo': ['ppo.clip=3']}})\n"
        "except UserError as error:\n    print('caught', error)\n",
        encoding="utf-8",
    )
    variables = os.environ | {"PYTHONPATH": str(Path(csrlhf.__file__).parent.parent)}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["begin", "caught ppo.clip=3.0: must be in (0, 1)"], done.stderr


def test_importing_csrlhf_imports_neither_torch_nor_hydra() -> None:
    check = "import sys, csrlhf; print([name for name in ('torch', 'hydra', 'lightning') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert {name for name in csrlhf.__all__ if name != "__version__"} == set(csrlhf.HOMES)
    assert all(callable(getattr(csrlhf, name)) for name in csrlhf.HOMES)
