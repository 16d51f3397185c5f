"""What a run records, and that a run that breaks does not break the training."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import lightning
import pytest
import torch
import wandb
import wandb.errors
from torch import Tensor
from torch.utils.data import DataLoader

from csrlhf.tracking.stage_logger import StageLogger
from csrlhf.tracking.wandb_run import WandbRun, wandb_logger

PATIENCE = 60.0
"""Seconds after which what should happen has not."""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., WandbRun]:
    """``offline(step_metric=...)``: a real run, recorded below ``tmp_path``."""
    for name in ("WANDB_API_KEY", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    return lambda **options: wandb_logger("p", str(tmp_path), str(tmp_path / "work"), **options)


def folder_of(tmp_path: Path) -> Path:
    [folder] = (tmp_path / "wandb").glob("offline-run-*")
    return folder


def test_axis_best_values_and_name(offline: Callable[..., WandbRun], recorded: Callable, tmp_path: Path) -> None:
    logger = offline(step_metric="iteration", best={"validation/loss": "min"}, group="g", job_type="sft", tags=["t"])
    assert isinstance(logger, StageLogger)
    logger.begin_stage("sft-1a2b3c4d", {})
    logger.log_hyperparams({"seed": 3, "ppo": {"clip": 0.2}})
    for step, loss in enumerate((3.0, 1.0, 2.0)):
        logger.log_metrics({"validation/loss": loss}, step)
    logger.end_stage(tmp_path / "nothing")
    run = recorded(folder_of(tmp_path))
    assert run.state == "finished"
    names = (run.info["display_name"], run.info["run_group"], run.info["job_type"], run.info["tags"])
    assert names == ("sft-1a2b3c4d", "g", "sft", ["t"])
    assert [(row["iteration"], row["validation/loss"]) for row in run.history] == [(0, 3), (1, 1), (2, 2)]
    assert run.summary["validation/loss"] == {"last": 2, "min": 1}
    axes = {metric.get("glob_name") or metric["name"]: metric.get("step_metric") for metric in run.metrics}
    assert axes == {"iteration": None, "*": "iteration", "validation/loss": "iteration"}
    assert run.config["ppo"] == {"clip": 0.2}


def test_the_users_name_stays(offline: Callable[..., WandbRun], recorded: Callable, tmp_path: Path) -> None:
    logger = offline(name="mine")
    logger.begin_stage("sft-1a2b3c4d", {})
    logger.finalize("failed")
    run = recorded(folder_of(tmp_path))
    assert run.info["display_name"] == "mine"
    assert run.state == "failed"


def test_success_of_one_loop_is_not_the_end(
    offline: Callable[..., WandbRun], recorded: Callable, tmp_path: Path
) -> None:
    logger = offline()
    logger.finalize("success")  # Lightning's, after fit
    logger.log_metrics({"test/loss": 1.0}, 0)
    logger.end_stage(tmp_path)
    assert "test/loss" in recorded(folder_of(tmp_path)).logged_keys()


def test_a_disabled_run_takes_everything_and_keeps_nothing(
    offline: Callable[..., WandbRun], result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = offline()
    logger.begin_stage("reward-1a2b3c4d", {"sft": str(result)})
    logger.log_hyperparams({"seed": 3})
    logger.log_table("samples/validation", ["a"], [["b"]], 1)
    assert logger.recording
    logger.end_stage(result)
    assert not list(tmp_path.rglob("*.wandb"))


class Loop(lightning.LightningModule):
    """Two steps; ``before`` is called before the second."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self.layer, self.before, self.steps = torch.nn.Linear(1, 1), before, 0

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.steps == 1:
            self.before()
        self.steps += 1
        loss = self.layer(batch).pow(2).mean()
        self.log("train/loss", loss.detach())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(tiny: ModuleType, root: Path, logger: WandbRun, before: Callable[[], None]) -> int:
    module = Loop(before)
    tiny.trainer(root, logger=logger, max_epochs=1, log_every_n_steps=1).fit(module, DataLoader(torch.ones(3, 1)))
    return module.steps


class LostError(Exception):
    """As W&B's package raises it where its service has died: no class of it is public."""

    __module__ = "wandb.sdk.mailbox"


@pytest.mark.parametrize(
    "failure",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionResetError("Connection lost"),
        wandb.errors.CommError("network is down\nmore"),
        LostError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_run_that_fails_costs_one_line_and_no_training(
    failure: Exception, tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    broken = cast(wandb.Run, SimpleNamespace(log=fail, finish=fail, define_metric=lambda *_, **__: None))
    logger = WandbRun(broken, "n", "p", str(tmp_path), "none", "step", {}, 1.0)
    assert fit(tiny, tmp_path, logger, lambda: None) == 3
    logger.end_stage(tmp_path)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "W&B" in line]
    assert line.startswith("W&B stopped recording (")
    assert line.endswith("the stage continues, history.csv has every metric")


def test_an_error_that_is_not_wandbs_stays_visible(tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise TypeError("ours")

    broken = cast(wandb.Run, SimpleNamespace(log=fail, define_metric=lambda *_, **__: None))
    with pytest.raises(TypeError, match="ours"):
        WandbRun(broken, "n", "p", str(tmp_path), "none", "step", {}, 1.0).log_metrics({"a": 1.0}, 0)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A folder that can be an artifact."""
    record = '{"stage": "sft", "fingerprint": "ab", "git_commit": null, "csrlhf": "0", "inputs": {}}'
    folder = tmp_path / "sft"
    (folder / "plots").mkdir(parents=True)
    (folder / "csrlhf.json").write_text(record, encoding="utf-8")
    return folder


def test_a_server_that_does_not_answer_is_waited_for_so_long_and_no_longer(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    release = threading.Event()

    def slow(*_: Any, **__: Any) -> None:
        calls.append("log_artifact")
        release.wait(PATIENCE)
        calls.append("answered")

    run = SimpleNamespace(log_artifact=slow, define_metric=lambda *_, **__: None, disabled=False, finish=calls.append)
    WandbRun(cast(wandb.Run, run), "n", "p", str(tmp_path), "record", "step", {}, 0.2).end_stage(result)
    assert calls == ["log_artifact"]  # it has not answered, and nobody waits for it
    release.set()
    assert "W&B stopped recording (no answer in 0.2 s)" in capsys.readouterr().err


def test_an_artifact_that_is_refused_ends_nothing(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("sft has another type")

    ends: list[int] = []
    run = SimpleNamespace(log_artifact=refuse, define_metric=lambda *_, **__: None, disabled=False,
                          finish=lambda exit_code: ends.append(exit_code))  # fmt: skip
    WandbRun(cast(wandb.Run, run), "n", "p", str(tmp_path), "record", "step", {}, 1.0).end_stage(result)
    assert ends == [0]
    assert capsys.readouterr().err == f"W&B does not take {result} as an artifact (sft has another type)\n"


def test_an_online_run_asks_for_its_arrows_as_it_begins(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    api = SimpleNamespace(artifact_exists=lambda path: path == "e/p/sft:ab", artifact=lambda path: path)
    used: list[str] = []
    run = SimpleNamespace(config={}, entity="e", project="p", use_artifact=used.append, offline=False, disabled=False,
                          define_metric=lambda *_, **__: None)  # fmt: skip
    monkeypatch.setattr(wandb, "Api", lambda: api)
    logger = WandbRun(cast(wandb.Run, run), "n", "p", str(tmp_path), "record", "step", {}, 10.0)
    logger.begin_stage("reward", {"sft": str(result), "model": "organisation/model-on-the-hub"})
    assert run.config == {"uses": ["sft:ab"]}
    assert used == ["e/p/sft:ab"]

    def unreachable() -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "Api", unreachable)
    logger.begin_stage("reward", {"sft": str(result)})
    assert logger.recording
    line = "W&B draws no arrow from sft:ab (no route to host); python -m csrlhf.tracking.lineage does\n"
    assert capsys.readouterr().err == line


def service_processes() -> list[int]:
    """W&B's service processes that this process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        text = status.read_text(encoding="utf-8") if status.exists() else ""
        if "Name:\twandb-core" in text and f"PPid:\t{os.getpid()}\n" in text and "State:\tZ" not in text:
            found.append(int(status.parent.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="finds the service in /proc")
def test_the_service_dies_and_the_training_ends_well(
    offline: Callable[..., WandbRun], tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wandb.teardown()
    logger = offline()

    def kill() -> None:
        [service] = service_processes()
        os.kill(service, signal.SIGKILL)
        until = time.monotonic() + PATIENCE
        while service_processes():
            assert time.monotonic() < until
            time.sleep(0.05)

    assert fit(tiny, tmp_path, logger, kill) == 3
    logger.log_table("samples/validation", ["a"], [["b"]], 1)
    logger.end_stage(tmp_path)
    assert capsys.readouterr().err.count("W&B stopped recording") == 1
    later = offline(name="later")  # the next stage in this process starts a service of its own
    later.log_metrics({"a": 1.0}, 0)
    assert later.recording
    later.end_stage(tmp_path)
