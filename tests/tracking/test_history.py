from __future__ import annotations

from pathlib import Path

from csrlhf.tracking.history import HistoryLogger, read_history


def test_rows_and_late_columns(tmp_path: Path) -> None:
    logger = HistoryLogger(tmp_path / "deep" / "history.csv")
    logger.log_metrics({"train/loss": 2.0}, 0)
    logger.log_metrics({"train/loss": 1.0}, 1)
    logger.log_metrics({"validation/loss": 3.0}, 1)
    logger.log_metrics({"train/loss": 0.5}, 2)
    assert (tmp_path / "deep" / "history.csv").read_text(encoding="utf-8").splitlines() == [
        "step,train/loss,validation/loss",
        "0,2.0,",
        "1,1.0,",
        "1,,3.0",
        "2,0.5,",
    ]


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    first = HistoryLogger(path)
    for step in range(4):
        first.log_metrics({"train/loss": float(step)}, step)
    resumed = HistoryLogger(path)
    resumed.log_metrics({"train/loss": 20.0}, 2)
    resumed.log_metrics({"train/loss": 30.0}, 3)
    assert [(row["step"], row["train/loss"]) for row in read_history(path)] == [(0, 0), (1, 1), (2, 20), (3, 30)]


def test_a_step_can_be_logged_as_a_metric(tmp_path: Path) -> None:
    logger = HistoryLogger(tmp_path / "history.csv")
    logger.log_metrics({"step": 99.0, "a": 1.0}, 3)
    assert read_history(tmp_path / "history.csv") == [{"step": 3.0, "a": 1.0}]
