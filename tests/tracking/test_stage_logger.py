"""A report in a W&B run, recorded offline and read back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from csrlhf.apps import sweep
from csrlhf.report import Figure, Matrix, Report, Section, Table
from csrlhf.sweeping.table import write_runs
from csrlhf.tracking.stage_logger import log_report
from csrlhf.tracking.wandb_run import WandbRun, wandb_logger


@pytest.fixture
def report() -> Report:
    report = Report("Evaluation")
    rows = [["plain", 0.01, 110], ["role play", float("nan"), None], [None, 0.05, 3]]
    report.add(Table(["category", "unsafe", "n"], rows, "Unsafe rate by category."))
    bars = Figure("bars", lambda axes, palette: axes.bar([0, 1], [1, 2]), "Two bars", size=(4, 2))
    report.add(Section("Arena", [bars, Matrix(["safe"], ["better", "worse"], [[3, 1.5]], name="arena")]))
    report.add(Table(["words"], [["mixed"], [1.0]], "Unsafe rate by category."))
    return report


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))


@pytest.fixture
def logger(tmp_path: Path) -> WandbRun:
    return wandb_logger("p", str(tmp_path), str(tmp_path / "work"), step_metric="iteration")


def test_tables_and_figures_are_in_the_run(
    logger: WandbRun, report: Report, recorded: Callable, tmp_path: Path
) -> None:
    log_report([logger], report)
    logger.end_stage(tmp_path / "nothing")
    [folder] = (tmp_path / "wandb").glob("offline-run-*")
    run = recorded(folder)
    assert run.state == "finished"
    assert run.summary.keys() >= {
        "plots/bars",
        "report/unsafe_rate_by_category",
        "report/arena",
        "report/unsafe_rate_by_category_2",
    }

    def table(key: str) -> Any:
        shown = run.summary[f"report/{key}"]
        assert shown["_type"] == "table-file"
        return json.loads((folder / "files" / shown["path"]).read_text(encoding="utf-8"))

    rates = table("unsafe_rate_by_category")
    assert rates["columns"] == ["category", "unsafe", "n"]
    assert rates["data"] == [["plain", 0.01, 110], ["role play", None, None], ["–", 0.05, 3]]
    assert table("arena")["data"] == [["safe", 3, 1.5]]
    assert table("unsafe_rate_by_category_2")["data"] == [["mixed"], ["1.00"]]
    picture = run.summary["plots/bars"]
    assert picture["_type"] == "image-file"
    assert Image.open(folder / "files" / picture["path"]).size == (picture["width"], picture["height"])
    assert picture["width"] == 2 * picture["height"] > 300


def test_the_code_of_the_page_makes_a_run(recorded: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "wandb.md"
    [program] = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    wandb.teardown()  # a service that another test has started writes below its own current folder
    exec(compile(program, str(page), "exec"), {})
    [folder] = (tmp_path / "artifacts" / "wandb").glob("offline-run-*")
    run = recorded(folder)
    assert run.summary["report/policies"]["nrows"] == 2
    assert (run.info["job_type"], run.state) == ("compare", "finished")


def test_the_report_of_a_sweep_is_a_run_that_the_next_one_goes_on_in(recorded: Callable, tmp_path: Path) -> None:
    base = {"status": "finished", "strategy": "linear", "multiplier": 1.0, "threshold/harm": 0.05, "seed": 0.0,
            "statistic/harm": "chance", "late/policy/kl_coef": 0.1, "late/validation/kl": 0.0}  # fmt: skip
    rows = []
    for name, cost, reward in (("a", 0.02, 0.1), ("b", 0.08, 0.4)):
        late = {"late/validation/harm/cost": cost, "late/validation/reward": reward}
        rows.append({"id": name, **base, **late})
    out = tmp_path / "linear"
    out.mkdir()
    write_runs(out / "runs.csv", rows)
    wandb.teardown()  # a service that another test has started writes below its own current folder
    assert sweep.main([str(out), "--report", "--wandb"]) == 0
    [folder] = (out / "wandb").glob("offline-run-*")
    run = recorded(folder)
    assert (run.info["job_type"], run.info["display_name"], run.state) == ("sweep", "linear", "finished")
    assert {"report/runs", "report/lambda_star", "plots/lambda_star", "plots/frontier_late_harm"} <= run.summary.keys()
    shown = run.summary["report/runs"]
    table = json.loads((folder / "files" / shown["path"]).read_text(encoding="utf-8"))
    assert [row[table["columns"].index("run")] for row in table["data"]] == ["a", "b"]
    for key in ("plots/lambda_star", "plots/frontier_late_harm"):
        Image.open(folder / "files" / run.summary[key]["path"]).verify()
    identity = (out / ".tracked" / "wandb_run_id").read_text(encoding="utf-8")
    assert identity in folder.name
    assert sweep.main([str(out), "--report", "--wandb"]) == 0
    assert (out / ".tracked" / "wandb_run_id").read_text(encoding="utf-8") == identity


def test_a_run_that_has_broken_takes_nothing_more(
    logger: WandbRun, report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.experiment.finish()
    log_report([logger], report)
    assert not logger.recording
    assert capsys.readouterr().err.count("W&B stopped recording") == 1


def test_loggers_that_take_neither_cost_no_drawing() -> None:
    def fails(axes: Any, palette: Any) -> None:
        raise AssertionError("drawn for nobody")

    report = Report("Unseen")
    report.add(Figure("unseen", fails, "nothing"))
    log_report([object()], report)
