"""What a sweep leaves for people: ``report.html``, ``plots/``, ``lambda_star.json``; of several sweeps ``runs.csv``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from csrlhf.errors import UserError
from csrlhf.report import Card, Cards, Figure, KeyValues, Report, Section, Table, Text
from csrlhf.report.blocks import Block
from csrlhf.sweeping import figures, frontier
from csrlhf.sweeping.frontier import cost_name, is_rate
from csrlhf.sweeping.multiplier import LAMBDA_STAR, Slope, multiplier_section, slopes_of, write_multiplier
from csrlhf.sweeping.table import BEST, FAILED, FILE, LATE, Row, number, rows_in, write_runs

SWEEP = "sweep.json"
"""How a sweep was made: its file, the words for all runs, the models."""

TRACKED = ".tracked"
"""Below a sweep's folder: which W&B run its report is. W&B takes a folder ``.wandb`` for its own."""


def write_report(folders: Sequence[Path], out: Path, threshold: float | None = None, wandb: bool = False) -> str:
    """Makes table, plots, λ* and page.

    Args:
        folders: of sweeps, or of runs of ``stage=ppo``.
        out: where they go.
        threshold: d at which λ* is asked for; None is the runs' own.
        wandb: whether tables and figures become a W&B run, too; the folder's next report goes on in the same one.

    Returns:
        One line that says where they are.

    Raises:
        UserError: a folder holds no runs, or none is finished.
    """
    rows = [{"sweep": folder.resolve().name, **row} for folder in folders for row in rows_in(folder)]
    done = frontier.finished(rows)
    if not done:
        raise UserError(f"{', '.join(map(str, folders))}: no run is finished")
    out.mkdir(parents=True, exist_ok=True)
    if [folder.resolve() for folder in folders] != [out.resolve()] or not (out / FILE).is_file():
        write_runs(out / FILE, rows)
    slopes = slopes_of(done, threshold)
    write_multiplier(out / LAMBDA_STAR, slopes)
    report = make_report(rows, slopes, _about(folders))
    report.save_figures(out / "plots")
    report.write(out / "report.html")
    if wandb:
        _track(report, out)
    files = [FILE, *([LAMBDA_STAR] if any(not one.reason for one in slopes[:1]) else []), "plots/", "report.html"]
    return f"{len(done)} of {len(rows)} runs finished: {out}: {', '.join(files)}"


def _track(report: Report, out: Path) -> None:
    """The report as a W&B run of the job type ``sweep``: offline where there is no account."""
    from csrlhf.tracking.stage_logger import log_report
    from csrlhf.tracking.wandb_run import wandb_logger

    project = os.environ.get("WANDB_PROJECT", "csrlhf")
    logger = wandb_logger(project, str(out), str(out / TRACKED), name=out.resolve().name, job_type="sweep")
    log_report([logger], report)
    logger.experiment.finish()


def make_report(rows: Sequence[Row], slopes: Sequence[Slope], about: dict[str, object]) -> Report:
    """The page."""
    done = frontier.finished(rows)
    sweeps = list(dict.fromkeys(str(row["sweep"]) for row in rows))
    report = Report(f"Sweep {', '.join(sweeps)}", f"{len(done)} of {len(rows)} runs finished")
    report.add(_cards(rows, done, slopes))
    for name in frontier.constraints_of(done):
        report.add(_frontier(done, name))
        if heats := _heats(done, name):
            report.add(Section(f"By setting: {name}", heats))
    report.add(multiplier_section(done, slopes))
    report.add(_runs_table(rows, frontier.constraints_of(done)))
    report.add(KeyValues("Provenance", about))
    return report


def _runs_table(rows: Sequence[Row], names: Sequence[str]) -> Section:
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
        "The best of these runs was chosen by the validation prompts that these numbers come from, so they are no "
        "evidence of it: stage=certify refuses them, and takes fresh ones. To certify several of these runs on the "
        "same prompts and keep the best, set certify.num_runs to their number."
    )
    return Section("Runs", [table, Text(words)])


def _rank(row: Row) -> tuple[bool, bool, float]:
    reward = number(row, "selection/best_reward")
    return (row.get("status") == FAILED, row.get("selection/best_feasible") != 1, -reward if reward == reward else 0.0)


def curve_of(row: Row, rows: Sequence[Row]) -> tuple[str, str]:
    """The curve that a run belongs to: its strategy, and its sweep where two sweeps have the same strategy."""
    strategy = str(row["strategy"])
    twice = len({other["sweep"] for other in rows if other["strategy"] == strategy}) > 1
    return strategy, str(row["sweep"]) if twice else ""


def _cards(rows: Sequence[Row], done: Sequence[Row], slopes: Sequence[Slope]) -> Cards:
    best = frontier.best_run(done)
    failed = sum(row.get("status") == FAILED for row in rows)
    feasible = sum(row.get("selection/best_feasible") == 1 for row in done)
    cards = [
        Card("runs finished", f"{len(done)} of {len(rows)}", f"{failed} failed", "warn" if failed else "neutral"),
        Card("feasible", f"{feasible} of {len(done)}", "bound on the cost within the threshold", "neutral"),
    ]
    if best is not None:
        note = f"reward {number(best, 'selection/best_reward'):.3g}, excess {number(best, 'selection/best_excess'):.2g}"
        cards.append(Card("best feasible run", str(best["id"]), note, "good"))
    else:
        cards.append(Card("best feasible run", "none", "larger multipliers, or a larger threshold", "bad"))
    if slopes and not slopes[0].reason:
        one = slopes[0]
        note = f"at d = {one.threshold:g}, between {one.lower:.3g} and {one.upper:.3g}; {one.count}"
        cards.append(Card("λ* (frontier's slope)", f"{one.value:.3g}", note))
    return Cards(cards)


def _frontier(done: Sequence[Row], name: str) -> Section:
    percent, cost = is_rate(done, name), cost_name(done, name)
    thresholds = frontier.thresholds_of(done, name)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in done:
        groups.setdefault(curve_of(row, done), []).append(row)
    blocks: list[Block] = []
    for when, title, heading, whose in (
        (BEST, "frontier", "Selected policies", "the selected policies of the runs"),
        (LATE, "frontier_late", "Where training settled", "means over the last third of the evaluations"),
    ):
        points = {curve: frontier.points_of(of, name, when) for curve, of in groups.items()}
        points = {curve: of for curve, of in points.items() if of}
        if points:
            blocks.append(
                Figure(
                    name=f"{title}_{name}",
                    draw=figures.draw_frontier(points, thresholds, cost, percent, heading),
                    alt=f"Reward against {cost}: {whose}; one curve per strategy: {_listed(points)}",
                    caption=f"Reward against {cost}, {whose}, on validation prompts. Lines: the runs that no other run "
                    "of the strategy beats in both; dashed upright: the threshold. In brackets the number of runs.",
                    size=figures.frontier_size(len(points)),
                )
            )
    return Section(f"Reward against cost: {name}", blocks or [Text("No finished run has an evaluation.")])


def _heats(done: Sequence[Row], name: str) -> list[Block]:
    """Unsafe rate and reward over two settings, for each strategy of each sweep that has varied two."""
    blocks: list[Block] = []
    curves = dict.fromkeys(curve_of(row, done) for row in done)
    for curve in curves:
        of, label = [row for row in done if curve_of(row, done) == curve], _listed([curve])
        axes = frontier.axes_of(of, name)
        if axes is None:
            continue
        for key, what, percent in (
            (f"{BEST}validation/{name}/cost", cost_name(of, name), is_rate(of, name)),
            ("selection/best_reward", "reward", False),
        ):
            grid = frontier.grid(of, *axes, key)
            if not grid.rows:
                continue
            first, second = (_axis_name(axis) for axis in axes)
            feasible = frontier.grid(of, *axes, "selection/best_feasible")
            stem = "cost" if key.startswith(BEST) else "reward"
            blocks.append(
                Figure(
                    name=f"heat_{stem}_{name}_{''.join(c if c.isalnum() else '_' for c in label)}",
                    draw=figures.draw_heat(grid, feasible, first, second, percent, f"{label}: {what}"),
                    alt=f"{what} of {label} over {first} and {second}, {sum(map(sum, grid.counts))} runs",
                    caption=f"{label}: {what} of the selected policy, infeasible if no run of a cell is feasible"
                    + ("; means where runs share a cell." if max(map(max, grid.counts)) > 1 else "."),
                )
            )
    return blocks


def _listed(curves: Iterable[tuple[str, str]]) -> str:
    return ", ".join(", ".join(filter(None, curve)) for curve in curves)


def _axis_name(key: str) -> str:
    return {"multiplier": "λ"}.get(key, "threshold d" if key.startswith("threshold/") else key)


def _about(folders: Sequence[Path]) -> dict[str, object]:
    about: dict[str, object] = {}
    for folder in folders:
        path = folder / SWEEP
        if not path.is_file():
            about[folder.name] = "runs of stage=ppo"
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        inputs = {stage: str(value)[:12] for stage, value in content["inputs"].items()}
        about[folder.resolve().name] = (
            f"{content['spec']['method']}, file {content['hash'][:12]}, csrlhf {content['version']}, "
            f"overrides {' '.join(content['overrides']) or 'none'}, inputs {inputs}"
        )
    return about
