"""A finished run of ``stage=ppo`` as a flat row, and ``runs.csv``: one row a run, and back.

A row is read from the run's folder; nothing is computed by a model.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.runs.artifacts import read_record, write_whole
from csrlhf.stats.estimates import Estimate
from csrlhf.stats.lambda_star import dual_tail, duty_cycle_estimate, why_inert

Row = dict[str, Any]
BEST, LATE = "best/", "late/"
"""Before a ``validation/`` key: of the selected policy; the mean over the last third of the evaluations, which is
what training settled at, with less noise than the last policy alone."""

LATE_TRAINING = ("penalty/multiplier", "penalty/weight", "policy/kl_coef")
FIGURE = "validation/reward"
DUALS = ("lagrangian", "pid", "augmented_lagrangian")
"""Strategies whose multiplier settles at λ*."""
GATES = ("rectified",)
"""Strategies with a plain gate, whose share of open iterations tells λ*."""


def read_outcome(folder: Path) -> Row:
    """One run's row.

    Returns:
        ``strategy``, ``multiplier``, ``threshold/<constraint>``, ``statistic/<constraint>``, ``normaliser``, ``seed``,
        every key of metrics.json (the last policy's, and ``selection/best_...``), ``best/validation/...``,
        ``late/validation/...``, ``late/penalty/...``, and where the run alone tells λ* (stats/lambda_star.py)
        ``lambda_star/value``, ``/lower``, ``/upper`` and ``/method``.

    Raises:
        UserError: the folder holds no result of ``stage=ppo``.
    """
    record = read_record(folder)
    if record is None or record.get("stage") != "ppo":
        raise UserError(f"{folder}: there is no result of stage=ppo")
    metrics: Row = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    history = _history(folder / "history.csv")
    setting = _setting(record["config"])
    return (
        setting
        | metrics
        | _late(history)
        | _best(history, metrics)
        | _multiplier(setting, history, record["config"].get("advantage") or {})
    )


def _setting(config: Mapping[str, Any]) -> Row:
    penalty = config["penalty"]
    row: Row = {"strategy": strategy_of(penalty["_target_"]), "multiplier": penalty.get("multiplier")}
    for name, constraint in config["constraints"].items():
        row[f"threshold/{name}"] = constraint.get("threshold")
        row[f"statistic/{name}"] = strategy_of(constraint["_target_"])
    return row | {
        "normaliser": penalty.get("normaliser"),
        "gate": penalty.get("gate", "batch"),
        "seed": config.get("seed"),
    }


def strategy_of(target: str) -> str:
    """``csrlhf.penalties.rectified.Rectified`` -> ``rectified``: our files are named after the choice."""
    words = target.split(".")
    return words[-2] if target.startswith("csrlhf.") else words[-1]


def _best(history: Sequence[Mapping[str, float]], metrics: Mapping[str, Any]) -> Row:
    """The evaluation of the selected policy; without a selection the last one."""
    looks = [row for row in history if FIGURE in row]
    if not looks:
        return {}
    # An evaluation's row carries the step of the training row before it; whose it is, it says itself.
    wanted = metrics.get("selection/best_iteration")
    found = next((row for row in looks if row.get("selection/iteration") == wanted), looks[-1])
    return {BEST + key: value for key, value in found.items() if key.startswith("validation/")}


def _late(history: Sequence[Mapping[str, float]]) -> Row:
    row: Row = {}
    looks = _last_third([row for row in history if FIGURE in row])
    for key in dict.fromkeys(key for look in looks for key in look if key.startswith("validation/")):
        row[LATE + key] = _mean([look[key] for look in looks if key in look])
    training = _last_third([row for row in history if "policy/kl_coef" in row])
    for key in LATE_TRAINING:
        if any(key in one for one in training):
            row[LATE + key] = _mean([one[key] for one in training if key in one])
    return row


def _multiplier(
    setting: Mapping[str, Any], history: Sequence[Mapping[str, float]], advantage: Mapping[str, Any]
) -> Row:
    """λ* as this run alone tells it."""
    found: Estimate | None = None
    clipped = [row["policy/clip_active"] for row in history if "policy/clip_active" in row]
    estimator = str(advantage.get("_target_", "")).rpartition(".")[2]
    if why_inert(estimator, advantage.get("normalise"), clipped) is not None:
        return {}
    try:
        if setting["strategy"] in DUALS:
            found = dual_tail([row["penalty/multiplier"] for row in history if "penalty/weight" in row])
        elif setting["strategy"] in GATES and isinstance(setting["multiplier"], int | float) and setting["multiplier"]:
            gates = [row["penalty/weight"] / setting["multiplier"] for row in history if "penalty/weight" in row]
            found = duty_cycle_estimate(float(setting["multiplier"]), gates, setting["normaliser"], setting["gate"])
    except UserError:  # too short a run, another normaliser, several constraints: it tells nothing
        return {}
    if found is None:
        return {}
    bounds = {"value": found.value, "lower": found.lower, "upper": found.upper, "method": found.method}
    return {f"lambda_star/{key}": value for key, value in bounds.items()}


def _last_third(rows: Sequence[Mapping[str, float]]) -> Sequence[Mapping[str, float]]:
    return rows[-max(len(rows) // 3, 1) :]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _history(path: Path) -> list[dict[str, float]]:
    """The rows of a history.csv; tracking/history.py reads them too, and imports Lightning."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; the run's folder is not whole")
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


FILE = "runs.csv"
FIRST = ("id", "status", "overrides", "seconds", "strategy", "multiplier")
FINISHED, FAILED = "finished", "failed"


def write_runs(path: Path, rows: Sequence[Row]) -> None:
    """Writes all rows at once, by one rename; what is undefined is left empty."""
    columns = dict.fromkeys([*FIRST, *(key for row in rows for key in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns))
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_whole(path, text.getvalue().encode())


def read_runs(path: Path) -> list[Row]:
    """Reads the rows back: numbers are numbers, empty cells are left out.

    Raises:
        UserError: names the file and what is wrong.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := {"id", "status"} - set(reader.fieldnames or ()):
            raise UserError(f"{path}: no table of runs, the column {min(missing)} is missing")
        return [{key: _value(key, cell) for key, cell in row.items() if cell} for row in reader]


def rows_in(folder: Path) -> list[Row]:
    """The rows of a sweep's folder, or of any folder of ``stage=ppo`` runs (``artifacts/ppo``).

    Raises:
        UserError: there is neither.
    """
    if (folder / FILE).is_file():
        return read_runs(folder / FILE)
    runs = [path for path in sorted(folder.glob("*")) if (path / "metrics.json").is_file() and not path.is_symlink()]
    if not runs:
        raise UserError(f"{folder}: neither a sweep's folder (with {FILE}) nor one of finished runs (artifacts/ppo)")
    return [{"id": path.name, "status": FINISHED, "folder": str(path), **read_outcome(path)} for path in runs]


def number(row: Mapping[str, Any], key: str) -> float:
    """A cell as a number, NaN where it is none."""
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    return value


def _value(key: str, cell: str) -> Any:
    if key in ("id", "overrides", "strategy", "folder"):
        return cell
    try:
        return float(cell)
    except ValueError:
        return cell
