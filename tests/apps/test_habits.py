"""Habits of Hydra and Lightning: the commands of docs/how-to/hydra_lightning_notebooks.md run, and do what it says."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from csrlhf import __version__
from csrlhf.config import contracts, overrides, search_path
from csrlhf.runs.processes import run_program

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "how-to" / "hydra_lightning_notebooks.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.timeout(900)  # the commands of the page run once, for whichever test asks first


@dataclass(frozen=True)
class Ran:
    """What a command of the page did."""

    code: int
    out: str
    err: str


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("bash")).splitlines()
    return [re.sub(r"\s+# .*", "", line) for line in lines if line]


def in_this_process(train: Callable[..., int], words: list[str]) -> Ran:
    """A stage without the seconds of imports and plots, on a small world, with no tracker but the one it names."""
    small = ["sft.batch_size=8", "reward.batch_size=8", "cost.batch_size=8", "evaluate.batch_size=16"]
    small += ["ppo.batch_size=16", "ppo.minibatch_size=16", "ppo.num_validation=128", "callbacks.plots=null"]
    if "debug=overfit" not in words:  # which has something to learn
        small += [f"model.policy.architecture.{size}=16" for size in ("hidden_size", "intermediate_size")]
    small += [] if {"debug=fast", "debug=overfit"} & {*words} else ["data_size=batch"]
    quiet = [] if any(word.startswith("logger=") for word in words) else ["logger=none"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = train(*words, *small, *quiet)
    return Ran(code, out.getvalue(), err.getvalue())


def in_a_shell(command: str, folder: Path) -> Ran:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'PATH="{folder}/bin:$PATH"; {command}'],
        cwd=folder, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.py and a ``python`` that is this one."""
    made = tmp_path_factory.mktemp("habits")
    (made / "bin").mkdir()
    (made / "bin" / "python").write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" "$@"\n', "utf-8")
    (made / "bin" / "python").chmod(0o755)
    (made / "train.py").symlink_to(ROOT / "train.py")
    for text in blocks("yaml"):
        path = made / text.splitlines()[1].removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def ran(train: Callable[..., int], folder: Path) -> Iterator[dict[str, Ran]]:
    """All commands of the page, run once and in its order."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("WANDB_RUN_GROUP", "put back at the end, and unset now")
        patch.delenv("WANDB_RUN_GROUP")
        for command in commands():
            words = shlex.split(command)
            in_process = words[:2] == ["python", "train.py"] and "|" not in words and words[2] != "--version"
            found[command] = in_this_process(train, words[2:]) if in_process else in_a_shell(command, folder)
        yield found


def test_every_command_of_the_page_runs(ran: dict[str, Ran]) -> None:
    assert len(ran) > 12
    for command, outcome in ran.items():
        assert outcome.code in ((0, 141) if "| head" in command else (0,)), (command, outcome.err)
        assert "Traceback" not in outcome.err, command


def of(ran: dict[str, Ran], part: str) -> Ran:
    [found] = [outcome for command, outcome in ran.items() if part in command]
    return found


def history(path: Path, key: str) -> list[float]:
    with path.open(encoding="utf-8") as file:
        return [float(row[key]) for row in csv.DictReader(file) if row.get(key)]


def test_our_version_is_printed(ran: dict[str, Ran]) -> None:
    assert of(ran, "--version").out == f"csrlhf {__version__}\n"


def test_a_reader_that_has_gone_is_no_error(ran: dict[str, Ran], folder: Path) -> None:
    assert of(ran, "| head").err == ""
    assert of(ran, "| head").out.startswith("seed:")
    for program in ("csrlhf.sweep --help", "csrlhf.chat --help"):
        assert in_a_shell(f"python -m {program} | true", folder).err == ""


def test_a_batch_that_is_overfitted_is_learned_by_heart(ran: dict[str, Ran], folder: Path) -> None:
    assert of(ran, "stage=sft debug=overfit").code == 0
    # Beside the result of debug=fast, which the commands after it have put back in its place.
    runs = [history(path, "train/loss") for path in (folder / "artifacts" / "debug").glob("sft*/history.csv")]
    losses = max(runs, key=len)
    assert losses[0] > 1
    assert losses[-1] < 0.02


def test_debug_runs_are_kept_apart_and_reach_every_stage(ran: dict[str, Ran], folder: Path) -> None:
    assert of(ran, "train.py debug=fast").out.count("artifacts/debug/") == 5
    debugged = {path.name for path in (folder / "artifacts" / "debug").iterdir()}
    assert {"sft", "reward", "cost", "ppo", "evaluate"} <= debugged
    assert not (folder / "artifacts" / "ppo").exists()


def test_an_experiment_of_one_s_own_reaches_every_stage(ran: dict[str, Ran], folder: Path) -> None:
    out = of(ran, "--config-dir").out
    assert out.count(": unchanged, ") >= 2  # reward and cost: debug=fast made them before
    [run] = (folder / "artifacts" / "debug" / "ppo").glob("lagrangian-*")
    assert json.loads((run / "csrlhf.json").read_text(encoding="utf-8"))["config"]["ppo"]["kl_coef"] == 0.2


def test_runs_of_a_multirun_share_a_wandb_group(ran: dict[str, Ran], folder: Path) -> None:
    assert of(ran, " -m ").code == 0
    runs = list((folder / "artifacts" / "debug" / "wandb").glob("offline-run-*/*.wandb"))
    groups = [set(re.findall(rb"multirun-\d{8}-\d{6}", run.read_bytes())) for run in runs]
    assert len(groups) == 2
    assert groups[0] == groups[1]
    assert len(groups[0]) == 1


def test_a_fast_dev_run_publishes_nothing(command_line: Callable, tmp_path: Path) -> None:
    words = ["data_size=batch", f"artifacts={tmp_path}", "+trainer.fast_dev_run=true"]
    outcome = command_line("stage=sft", *words)  # with W&B, of which no run may begin
    assert outcome.code == 0, outcome.err
    assert "sft: trainer.fast_dev_run has come through; nothing is kept of it" in outcome.out
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert_error(command_line(*words), "trainer.fast_dev_run: keeps no result")


def test_the_profiler_s_report_is_shown(folder: Path) -> None:
    words = "stage=sft debug=fast +trainer.profiler=simple"
    command = [sys.executable, str(folder / "train.py"), *words.split(), f"artifacts={folder / 'profiled'}"]
    assert run_program(command, os.environ, folder / "log") == 0
    assert "run_training_epoch" in (folder / "log").read_text(encoding="utf-8")


def assert_error(outcome: Ran, message: str) -> None:
    assert outcome.code == 1
    [line] = outcome.err.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["callbacks=early_stopping", "callbacks.early_stopping.monitor=validation/los"],
            "callbacks.early_stopping.monitor=validation/los: stage=sft logs no such metric; did you mean "
            "validation/loss? There are train/loss, validation/loss",
        ),
        (["callbacks.checkpoint.monitor=validation/los"], "callbacks.checkpoint.monitor=validation/los: stage=sft"),
        (
            ["+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping"],
            "callbacks.stop: EarlyStopping needs a value for monitor; add +callbacks.stop.monitor=...",
        ),
        (["callbacks=early_stoping"], "did you mean callbacks=early_stopping"),
        (["+trainer.limit_train_batchs=1"], "Trainer has no such key (did you mean limit_train_batches?)"),
    ],
)
def test_what_is_wrong_with_a_callback_is_one_line(
    command_line: Callable, tmp_path: Path, words: list[str], message: str
) -> None:
    small = ["stage=sft", "data_size=batch", "logger=none", f"artifacts={tmp_path}"]
    assert_error(command_line(*small, *words), message)


def test_an_early_stop_is_told_and_rates_are_logged(command_line: Callable, tmp_path: Path) -> None:
    stops = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=9", "sft.epochs=6"]
    small = ["stage=sft", "data_size=batch", "logger=none", f"artifacts={tmp_path}"]
    outcome = command_line(*small, "callbacks=[early_stopping,lr_monitor]", *stops)
    assert outcome.code == 0, outcome.err
    assert "sft: stopped early, after epoch 2: Monitored metric validation/loss did not improve" in outcome.out
    assert len(history(tmp_path / "sft" / "history.csv", "train/loss")) == 2
    assert history(tmp_path / "sft" / "history.csv", "lr-AdamW/pg1")


def test_paths_are_counted_from_where_the_program_starts(command_line: Callable, tmp_path: Path) -> None:
    assert_error(command_line("stage=sft", "hydra.job.chdir=true", f"artifacts={tmp_path}"), "hydra.job.chdir=true")


def composed(*words: str) -> OmegaConf:
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        return compose("train", overrides=overrides.prepared(words))  # type: ignore[return-value]


def test_one_s_own_local_configuration_is_read_before_an_experiment(folder: Path) -> None:
    own = f"hydra.searchpath=[file://{folder / 'conf'}]"
    assert composed().trainer.log_every_n_steps == 1
    assert composed(own).trainer.log_every_n_steps == 10
    assert composed(own, "trainer.log_every_n_steps=3").trainer.log_every_n_steps == 3
    assert "/conf/local/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("word", ["experiment=smoke", "debug=fast", "debug=overfit"])
def test_small_runs_go_with_every_source(word: str) -> None:
    for path in sorted((ROOT / "conf" / "data").glob("*.yaml")):
        place = ["data.folder=."] if "folder: ???" in path.read_text(encoding="utf-8") else []
        cfg = composed(word, f"data={path.stem}", *place)
        contracts.check("data", OmegaConf.to_container(cfg.data, resolve=True))  # no key that its class does not take
    cfg = composed(word, "+data._target_=my_package.Source")  # a plug-in's
    assert dict(cfg.data) == {"_target_": "my_package.Source"}
    assert len(composed("experiment=[smoke,safe_rlhf]", word).ppo) > 1


@pytest.mark.parametrize(("word", "shown"), [("true", True), ("false", False), ("none", False), ("fast", True)])
def test_debug_is_a_switch_and_a_choice(word: str, shown: bool) -> None:
    assert composed(f"debug={word}").debug is shown
    assert overrides.shows_tracebacks(["stage=sft", f"debug={word}"]) is shown
