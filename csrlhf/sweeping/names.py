"""What things are called in a sweep's report, and its table of runs."""

from __future__ import annotations

from collections.abc import Sequence

from csrlhf.report import Section, Table, Text
from csrlhf.sweeping.outcome import BEST, Row
from csrlhf.sweeping.table import FAILED, number


def is_rate(rows: Sequence[Row], name: str) -> bool:
    """Whether the cost is a share of the answers."""
    return any(row.get(f"statistic/{name}") == "chance" for row in rows)


def cost_name(rows: Sequence[Row], name: str) -> str:
    """What the axis of a constraint's cost is called."""
    return "unsafe responses (cost model)" if is_rate(rows, name) and name == "harm" else f"cost {name}"


def runs_table(rows: Sequence[Row], names: Sequence[str]) -> Section:
    """The report's section with a row for every run."""
    columns: dict[str, tuple[str, str | int | None]] = {"id": ("run", None), "strategy": ("strategy", None)}
    if len({row["sweep"] for row in rows}) > 1:
        columns = {"sweep": ("sweep", None), **columns}
    columns["multiplier"] = ("λ", None)
    for name in names:
        rate = "percent" if is_rate(rows, name) else None
        columns[f"threshold/{name}"] = (f"d {name}", None)
        columns[f"{BEST}validation/{name}/cost"] = (f"cost {name}", rate)
    columns |= {
        "selection/best_reward": ("reward", 3),
        "selection/best_excess": ("excess", 4),
        f"{BEST}validation/kl": ("KL", 2),
        "selection/best_iteration": ("iteration", 0),
        "selection/last_reward": ("last reward", 3),
        "selection/last_excess": ("last excess", 4),
        "status": ("status", None),
    }
    filled = {key: of for key, of in columns.items() if any(row.get(key) is not None for row in rows)}
    ordered = sorted(rows, key=_rank)
    table = Table(
        [title for title, _ in filled.values()],
        [[row.get(key) for key in filled] for row in ordered],
        "Feasible runs first, by reward. Cost, KL and excess (bound on the cost less d; feasible at 0 or less) are "
        "those of the selected policy, on validation prompts; the last columns are the last policy's.",
        {title: style for title, style in filled.values() if style is not None},
        name="runs",
    )
    words = (
        "The best of these runs was chosen on the prompts that these numbers come from: a certificate of it divides δ "
        "by the number of runs (stage=certify, certify.num_runs)."
    )
    return Section("Runs", [table, Text(words)])


def _rank(row: Row) -> tuple[bool, bool, float]:
    reward = number(row, "selection/best_reward")
    return (row.get("status") == FAILED, row.get("selection/best_feasible") != 1, -reward if reward == reward else 0.0)
