"""The runner with a stage of ten weights: fit, best weights, test, export, publish, resume, stop."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from lightning.pytorch import LightningDataModule, LightningModule
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader

from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.runs import artifacts, runner
from csrlhf.runs.plan import Plan
from csrlhf.runs.work_folder import last_checkpoint


class TinyModule(LightningModule):
    """Learns to map ones to zero; its validation loss is best in the epoch ``best_epoch``."""

    def __init__(self, best_epoch: int = 1, fail_at: int | None = None, failure: str = "nan") -> None:
        super().__init__()
        self.best_epoch, self.fail_at, self.failure = best_epoch, fail_at, failure
        self.final_metrics: dict[str, float] = {}
        self.tokenizer = None

    def configure_model(self) -> None:
        if not hasattr(self, "layer"):
            self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        if self.global_step == self.fail_at:
            if self.failure == "nan":
                raise UserError(f"train/loss is nan at step {self.global_step}")
            raise KeyboardInterrupt
        loss = self.layer(batch).pow(2).mean()
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("validation/loss", float(abs(self.current_epoch - self.best_epoch)))

    def on_validation_epoch_end(self) -> None:
        self.final_metrics["output"] = float((self.layer.weight + self.layer.bias).abs())

    def test_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("test/output", self.layer(batch).abs().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)

    def export(self, folder: Path) -> None:
        torch.save(self.layer.state_dict(), folder / "layer.pt")


class TinyData(LightningDataModule):
    def __init__(self, tokenizer: object) -> None:
        super().__init__()
        self.prepare_data_per_node = False

    def train_dataloader(self) -> DataLoader:
        return DataLoader(torch.ones(8, 1), batch_size=2)

    val_dataloader = test_dataloader = train_dataloader


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., tuple[DictConfig, Plan]]:
    """``tiny(resume=True, fail_at=5, ...)``: config and plan of a stage of three epochs of four steps."""

    def build(resume: bool = False, fingerprint: str = "a", **module: object) -> tuple[DictConfig, Plan]:
        search_path.register()
        with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
            cfg = compose("train", overrides=["stage=sft", "logger=none", f"artifacts={tmp_path}"])
        OmegaConf.set_struct(cfg, False)
        sys.modules.setdefault("tiny_stage", sys.modules[__name__])
        cfg.module = {"_target_": "tiny_stage.TinyModule", **module}
        cfg.datamodule = {"_target_": "tiny_stage.TinyData"}
        cfg.trainer.max_epochs = 3
        cfg.stage.steps = ["fit", "validate", "test"]
        cfg.resume = resume
        plan = Plan("sft", tmp_path / "sft", tmp_path / ".work" / "sft-a", fingerprint * 64, {}, {}, {"train": "b"})
        return cfg, plan

    return build


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_stage_publishes_the_best_weights_with_record_metrics_history_and_plots(tiny: Callable) -> None:
    cfg, plan = tiny(best_epoch=1)
    metrics = runner.run_stage(cfg, plan, "python train.py")
    exported = torch.load(plan.folder / "layer.pt", weights_only=True)
    output = float((exported["weight"] + exported["bias"]).abs())
    assert metrics["output"] == pytest.approx(output)  # validated after the best weights came back
    assert metrics["test/output"] == pytest.approx(output)
    assert metrics["validation/loss"] >= 0
    assert json.loads((plan.folder / "metrics.json").read_text(encoding="utf-8")) == pytest.approx(metrics)
    record = artifacts.read_record(plan.folder)
    assert record is not None
    assert record["fingerprint"] == plan.fingerprint
    assert record["data"] == {"train": "b"}
    assert record["config"]["seed"] == 0
    assert "torch" in record["versions"]
    assert [float(row["step"]) for row in history(plan.folder) if row["train/loss"]] == list(range(12))
    assert (plan.folder / "plots" / "curves.png").stat().st_size > 1000
    assert not plan.work.exists()


def test_best_weights_differ_from_the_last(tiny: Callable) -> None:
    first = runner.run_stage(*tiny(best_epoch=0, fingerprint="b"), "x")["test/output"]
    last = runner.run_stage(*tiny(best_epoch=2, fingerprint="c"), "x")["test/output"]
    assert abs(last) < abs(first)


def test_a_broken_run_keeps_its_checkpoint_says_so_and_resumes_to_the_same_result(
    tiny: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = runner.run_stage(*tiny(best_epoch=2, fingerprint="b"), "x")["test/output"]
    cfg, plan = tiny(best_epoch=2, fail_at=9)
    with pytest.raises(UserError, match=r"nan at step 9; the last good checkpoint is .*last\.ckpt"):
        runner.run_stage(cfg, plan, "x")
    capsys.readouterr()
    resumed = runner.run_stage(*tiny(best_epoch=2, resume=True), "x")["test/output"]
    assert "resuming from" in capsys.readouterr().out
    assert resumed == pytest.approx(whole, abs=1e-7)
    steps = [float(row["step"]) for row in history(plan.folder) if row["train/loss"]]
    assert steps == list(range(12))  # the step after the checkpoint stands once


def test_ctrl_c_names_the_command_that_resumes(tiny: Callable) -> None:
    cfg, plan = tiny(fail_at=5, failure="ctrl-c")
    with pytest.raises(KeyboardInterrupt, match=r"resume with: python train\.py stage=sft resume=true"):
        runner.run_stage(cfg, plan, "python train.py stage=sft")
    assert last_checkpoint(plan).exists()
    assert not plan.folder.exists()


def test_without_resume_a_run_starts_anew(tiny: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, plan = tiny(fail_at=5)
    with pytest.raises(UserError):
        runner.run_stage(cfg, plan, "x")
    runner.run_stage(*tiny(), "x")
    assert "resuming" not in capsys.readouterr().out


def test_resume_without_a_checkpoint_says_so(tiny: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    runner.run_stage(*tiny(resume=True), "x")
    assert "no checkpoint of these settings" in capsys.readouterr().out


def test_what_a_stage_has_kept_outlives_a_stop_and_goes_with_a_new_start(
    tiny: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    _, plan = tiny()
    file = plan.work / artifacts.KEPT / "answers-0.jsonl"
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(KeyboardInterrupt, match=r"resume with: python train\.py resume=true"):
        runner.run_stage(*tiny(resume=True, fail_at=0, failure="ctrl-c"), "python train.py")
    assert "resuming with what is saved in" in capsys.readouterr().out
    assert file.exists()
    with pytest.raises(KeyboardInterrupt, match=r"interrupted$"):
        runner.run_stage(*tiny(fail_at=0, failure="ctrl-c"), "python train.py")
    assert not file.exists()
