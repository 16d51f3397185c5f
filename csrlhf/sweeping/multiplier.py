"""λ* of a sweep: its section in the report, and ``lambda_star.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from csrlhf.report import Figure, Section, Table, Text
from csrlhf.report.blocks import Block
from csrlhf.runs.artifacts import write_json
from csrlhf.sweeping import figures, frontier
from csrlhf.sweeping.names import cost_name, is_rate
from csrlhf.sweeping.outcome import Row
from csrlhf.sweeping.slopes import Slope, slope

LAMBDA_STAR = "lambda_star.json"


def slopes_of(rows: Sequence[Row], threshold: float | None) -> list[Slope]:
    """λ* at the threshold asked for, then at the runs' others. None with several constraints: each has its own λ*."""
    names = frontier.constraints_of(rows)
    if len(names) != 1:
        return []
    first = threshold if threshold is not None else frontier.usual_threshold(rows, names[0])
    if first is None:
        return []
    others = [value for value in frontier.thresholds_of(rows, names[0]) if value != first]
    return [slope(rows, names[0], value) for value in (first, *others)]


def multiplier_section(done: Sequence[Row], slopes: Sequence[Slope]) -> Section:
    """The report's section on λ*."""
    blocks: list[Block] = [
        Text(
            "Above λ* a fixed multiplier keeps the constraint; take at least twice λ* (docs/explanation/algorithm.md). "
            "The frontier's slope at the threshold is one estimate of it: the reward, less β KL, that a unit of cost "
            "buys there. It is read within each seed, whose runs share a frontier; the median is given. Its bounds are "
            "the slopes of the neighbouring segments, the widest of all seeds, not a confidence interval; one seed "
            "cannot show how far off another would be. Dual runs and the gate's duty cycle give other estimates."
        )
    ]
    names = frontier.constraints_of(done)
    if len(names) > 1:
        blocks.append(Text(f"Not read here: with several constraints ({', '.join(names)}) each has a λ* of its own."))
    rows: list[list[object]] = []
    for one in slopes:
        if one.reason:
            rows.append([one.threshold, None, None, None, f"none: {one.reason}"])
        else:
            upper = one.upper if math.isfinite(one.upper) else None
            rows.append([one.threshold, one.value, one.lower, upper, one.words])
    one_sweep = len({row["sweep"] for row in done}) == 1
    for row in done:
        if "lambda_star/value" in row and names:
            bounds = [row.get(f"lambda_star/{key}") for key in ("value", "lower", "upper")]
            bounds = [value if isinstance(value, int | float) and math.isfinite(value) else None for value in bounds]
            name = row["id"] if one_sweep else f"{row['sweep']}, {row['id']}"
            how = f"{row.get('lambda_star/method')}, {name}"
            rows.append([row.get(f"threshold/{names[0]}"), *bounds, how])
    if rows:
        caption = "Estimates of λ*; an open end is a gap."
        blocks.append(Table(["d", "λ*", "from", "to", "read from"], rows, caption, name="lambda_star"))
    if slopes and not slopes[0].reason:
        cost, percent = cost_name(done, names[0]), is_rate(done, names[0])
        blocks.append(
            Figure(
                name="lambda_star",
                draw=figures.draw_slope(slopes[0], cost, percent),
                alt=f"Reward less β KL against {cost}, with the slope {slopes[0].value:.3g} at {slopes[0].threshold:g}",
                caption="Where training settled in each run, a colour per seed, and the slope of each seed's frontier "
                "at the threshold (dashed).",
            )
        )
    return Section("The optimal multiplier λ*", blocks)


def write_multiplier(path: Path, slopes: Sequence[Slope]) -> None:
    """``lambda_star.json``, which ``stage=certify`` reads; an old one does not outlive the runs it was read from."""
    if not slopes or slopes[0].reason:
        path.unlink(missing_ok=True)
        return
    first = slopes[0]
    content = {key: getattr(first, key) for key in ("value", "lower", "upper", "method", "threshold")}
    content["seeds"] = [
        {key: getattr(one, key) for key in ("seed", "value", "lower", "upper", "reason")} for one in first.seeds
    ]
    content["points"] = [
        {"run": point.name, "seed": one.seed, "cost": point.cost, "objective": point.reward}
        for one in first.telling
        for point in one.points
    ]
    others = [one for one in slopes[1:] if not one.reason]
    content["others"] = [{key: getattr(one, key) for key in ("threshold", "value", "lower", "upper")} for one in others]
    write_json(path, content)
