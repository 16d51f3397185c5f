"""The page of a cost model's evaluation: cards, reliability, threshold, slices, drift, its worst mistakes, provenance.

All numbers come from a ``CostResult``; only the data of figures are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from csrlhf.evaluation.cost_model.evaluation import CostEvaluation, Slice, share_of
from csrlhf.evaluation.cost_model.result import CostResult
from csrlhf.evaluation.cost_model.tables import (
    MEASURES,
    baseline_of,
    calibration_rows,
    drift_cells,
    slice_row,
    with_interval,
)
from csrlhf.report import (
    Block,
    Card,
    Cards,
    Dialogue,
    Dialogues,
    Figure,
    KeyValues,
    Matrix,
    Palette,
    Report,
    Section,
    Table,
    Text,
)

# The figures of a cost model's evaluation.

Axes = Any
"""Matplotlib's, which the report draws on: nobody else imports it."""


def draw_reliability(axes: Axes, palette: Palette, one: CostEvaluation) -> None:
    """Share of unsafe answers against the probability that the model gives, with the diagonal."""
    axes.plot([0, 1], [0, 1], color=palette.muted, linestyle="--", linewidth=1)
    names = {"uncalibrated": "the head's own", "stored": f"stored temperature {one.temperature:.2f}"}
    for (key, bins), color, shift in zip(one.bins.items(), palette.series, (-0.006, 0.006), strict=False):
        if key == "uncalibrated" and one.temperature == 1.0:
            continue
        x, share = [part.probability + shift for part in bins], [part.unsafe for part in bins]
        reach = [[part.unsafe - part.unsafe_low for part in bins], [part.unsafe_high - part.unsafe for part in bins]]
        axes.errorbar(x, share, yerr=np.clip(reach, 0, None), color=color, label=names[key], marker="o", markersize=4)
    axes.set(
        xlabel="P(unsafe) of the cost model", ylabel="share that is unsafe", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02)
    )
    axes.legend(frameon=False)


def draw_threshold(axes: Axes, palette: Palette, one: CostEvaluation) -> None:
    """Recall, false positives and precision against τ, with the certified one."""
    curve = one.curve
    for values, words, color in (
        (curve.recall_M, "unsafe flagged (recall)", palette.series[0]),
        (curve.false_positive_rate_M, "safe flagged (false positives)", palette.series[1]),
        (curve.precision_M, "flagged that is unsafe (precision)", palette.series[2]),
    ):
        axes.step(curve.tau_M, values, where="post", color=color, label=words)
    axes.axvline(0.0, color=palette.muted, linestyle="--", linewidth=1)
    low, high = float(curve.tau_M[0]), float(curve.tau_M[-1])
    if one.choice.tau is not None:
        axes.axvline(one.choice.tau, color=palette.warn, linewidth=1.5, label=f"certified τ = {one.choice.tau:.2f}")
        low, high = min(low, one.choice.tau), max(high, one.choice.tau)
    axes.set(xlabel="threshold τ on the cost logit (dashed: 0)", ylabel="share", ylim=(-0.02, 1.02))
    axes.set_xlim(low - 0.1, max(high, low + 1.0) + 0.1)
    axes.legend(frameon=False, fontsize=8)


def slice_drawer(parts: list[Slice]) -> Any:
    """What draws the share of right decisions by slice."""

    def draw(axes: Axes, palette: Palette) -> None:
        height = range(len(parts))
        shares = [part.correct for part in parts]
        reach = [[share.value - share.low for share in shares], [share.high - share.value for share in shares]]
        # Points, no bars: an interval could not be told from a bar that it lies on.
        axes.errorbar([share.value for share in shares], list(height), xerr=np.clip(reach, 0, None), fmt="o",
                      color=palette.series[0], capsize=3, markersize=4)  # fmt: skip
        axes.set_yticks(list(height), [f"{part.name} ({part.count})" for part in parts])
        axes.set_ylim(len(parts) - 0.5, -0.5)
        axes.set(xlabel="share of right decisions", xlim=(-0.02, 1.02))

    return draw


def draw_drift(axes: Axes, palette: Palette, result: CostResult) -> None:
    """Each distance in units of its limit."""
    rows = [(f"{name}, {drift.name}", drift) for name, drifts in result.drift.items() for drift in drifts]
    colors = [palette.warn if drift.drifted else palette.good for _, drift in rows]
    axes.barh(range(len(rows)), [max(drift.value, 0) / drift.limit for _, drift in rows], color=colors, height=0.6)
    axes.set_yticks(list(range(len(rows))), [name for name, _ in rows])
    axes.invert_yaxis()
    axes.axvline(1.0, color=palette.muted, linestyle="--", linewidth=1)
    axes.set_xlabel("distance in units of its limit")


READS: Mapping[str, str] = {
    "precision": "precision (flagged responses that are unsafe)",
    "recall": "recall (unsafe responses that are flagged)",
    "specificity": "specificity (safe responses that are passed)",
    "auroc": "AUROC (an unsafe response scores above a safe one)",
    "ece": "calibration error (ECE)",
    "brier": "Brier score (mean squared error of P(unsafe))",
}
"""Measures in the words of the page; ``accuracy`` needs none."""

MISTAKES = 100
"""Worst mistakes of each kind that the page holds, per constraint."""


def cost_page(result: CostResult, hashes: Mapping[str, str]) -> Report:
    """The report.

    Args:
        result: what was found.
        hashes: sha256 by name, for the last section.
    """
    report = Report(
        f"Evaluation of the cost model {result.title}", f"{len(result.rows):,} labelled rows ({result.split})"
    )
    for note in result.notes:
        report.add(Text(note))
    for one in result.evaluations:
        report.add(_cards(result, one))
        report.add(_measures(result, one))
        report.add(_calibration(result, one))
        report.add(_threshold(result, one))
        report.add(_slices(result, one))
    if result.drift:
        report.add(_drift(result))
    report.add(_mistakes(result))
    report.add(KeyValues("Provenance (sha256)", dict(hashes)))
    return report


def _of(result: CostResult, one: CostEvaluation, words: str) -> str:
    """A heading; of several constraints it names its own."""
    return f"{one.name}: {words}" if len(result.evaluations) > 1 else words


def _cards(result: CostResult, one: CostEvaluation) -> Cards:
    choice = one.choice
    found = [
        Card(f"accuracy, {one.name}", _percent(result.number(one, "accuracy")), _bounds(result, one, "accuracy")),
        Card("unsafe responses flagged", _percent(result.number(one, "recall")), _bounds(result, one, "recall")),
        Card("AUROC", _three(result.number(one, "auroc")), _bounds(result, one, "auroc", percent=False)),
        Card("calibration error", _three(one.calibration["ece_calibrated"]), "as saved"),
    ]
    if choice.tau is None:
        needed = f"{choice.unsafe} unsafe prompt{'s' * (choice.unsafe != 1)}; at least {choice.least_unsafe} needed"
        found.append(Card("certified threshold", "none", needed, "bad"))
    else:
        price = f"flags {_percent(choice.safe_flagged_rate)} of the safe responses" if choice.safe else "price unknown"
        found.append(Card("certified threshold τ", f"{choice.tau:.2f}", price, "good" if choice.tau >= 0 else "warn"))
    if result.drift:
        alarms = sum(drift.drifted for drifts in result.drift.values() for drift in drifts)
        found.append(Card("drift alarms", alarms, "see the section on drift", "warn" if alarms else "good"))
    return Cards(found)


def _measures(result: CostResult, one: CostEvaluation) -> Section:
    has_baseline = any(baseline_of(result, one, key) for key in MEASURES)
    rows = [
        [
            READS.get(key, key),
            with_interval(result, one, key),
            *([baseline_of(result, one, key)] if has_baseline else []),
        ]
        for key in MEASURES
    ]
    counts = [[result.number(one, key) for key in keys] for keys in (
        ("true_positives", "false_negatives"), ("false_positives", "true_negatives"))]  # fmt: skip
    return Section(_of(result, one, "Measures"), [
        Table(["measure", "model (95 % interval)", *(["bag of words"] if has_baseline else [])], rows,
              caption="Decisions at cost 0. Intervals: percentile bootstrap over prompts (without width where no row "
                      "is wrong: the exact ones by category and length say more).",
              name=f"measures_{one.name}"),
        Matrix(["unsafe", "safe"], ["flagged", "not flagged"], counts, caption="Confusion matrix at cost 0", format=0,
               name=f"confusion_{one.name}"),
    ])  # fmt: skip


def _calibration(result: CostResult, one: CostEvaluation) -> Section:
    rows = [[name, None if math.isnan(t) else t, None if math.isnan(e) else e] for name, t, e in calibration_rows(one)]
    return Section(_of(result, one, "Is it calibrated?"), [
        Figure(f"reliability_{one.name}", lambda axes, palette: draw_reliability(axes, palette, one),
               alt="Share of unsafe responses against the probability that the cost model gives, by tenths",
               caption="On the diagonal the probabilities are true. Bars: 95 % Wilson intervals."),
        Table(["probabilities", "temperature", "calibration error"], rows,
              formats={"temperature": 2, "calibration error": 3}, name=f"calibration_{one.name}",
              caption="The refitted temperature is a suggestion for the next model; its error is measured on "
                      "prompts that it was not fitted on."),
    ])  # fmt: skip


def _threshold(result: CostResult, one: CostEvaluation) -> Section:
    at = one.curve.at(0.0)
    return Section(_of(result, one, "Which threshold?"), [
        Text("\n\n".join(one.choice.sentences())),
        Figure(f"threshold_{one.name}", lambda axes, palette: draw_threshold(axes, palette, one),
               alt="Recall, false positives and precision against the threshold on the cost logit",
               caption=f"At τ = 0: recall {at['recall']:.3f}, false positive rate {at['false_positive_rate']:.3f}."),
    ])  # fmt: skip


def _slices(result: CostResult, one: CostEvaluation) -> Section:
    columns = ["rows", "count", "right", "unsafe flagged", "safe flagged", "AUROC"]
    blocks: list[Any] = []
    for kind, parts in {"category": one.categories, "length": one.lengths}.items():
        if parts:
            blocks.append(Figure(f"{kind}_{one.name}", slice_drawer(parts), alt=f"Accuracy by {kind} with intervals",
                                 caption="Share of right decisions, 95 % exact intervals.",
                                 size=(5.6, 1.2 + 0.35 * len(parts))))  # fmt: skip
            blocks.append(Table(columns, [slice_row(part) for part in parts], caption=f"By {kind}. In brackets: 95 % "
                                "exact intervals.", name=f"{kind}_{one.name}"))  # fmt: skip
    return Section(_of(result, one, "Where does it fail?"), blocks)


def _drift(result: CostResult) -> Section:
    rows = [[name, *drift_cells(drift)] for name, drifts in result.drift.items() for drift in drifts]
    return Section("Drift", [
        Text("Distances between these dialogues and those that the cost model was made on. Beyond its limit, its "
             "measured accuracy says little about them."),
        Figure("drift", lambda axes, palette: draw_drift(axes, palette, result), size=(5.6, 1.2 + 0.3 * len(rows)),
               alt="Bars: each distance in units of its limit", caption="In units of the limit; beyond 1 it counts "
               "as drift (the embedding also needs p ≤ 0.01)."),
        Table(["dialogues", "of", "by", "distance", "limit", "p", "drift"], rows, name="drift"),
    ])  # fmt: skip


def _mistakes(result: CostResult) -> Block:
    """Unsafe answers with the lowest cost, safe ones with the highest."""
    found: list[Dialogue] = []
    for one in result.evaluations:
        for kind, wrong_N, sign in (
            ("missed (unsafe, not flagged)", one.unsafe_N & (one.logit_N <= 0), 1.0),
            ("false alarm (safe, flagged)", ~one.unsafe_N & (one.logit_N > 0), -1.0),
        ):
            rows = sorted(np.flatnonzero(wrong_N).tolist(), key=lambda row: sign * one.logit_N[row])
            for row in rows[:MISTAKES]:
                labelled = result.rows[row]
                labels = {"constraint": one.name, "mistake": kind, "category": labelled.meta.get("category", "(none)")}
                values = {"cost": one.logit_N[row], "P(unsafe)": float(expit(one.logit_N[row]))}
                unsafe = any(other.unsafe_N[row] for other in result.evaluations)
                found.append(Dialogue(labelled.prompt, labelled.response, labels, unsafe, values))
    title = "Its worst mistakes"
    if not found:
        return Section(title, [Text("It makes none on these rows.")])
    note = f"The worst first, at most {MISTAKES} of each kind. Unsafe responses are hidden until opened."
    return Dialogues(found, title=title, note=note)


def _bounds(result: CostResult, one: CostEvaluation, key: str, percent: bool = True) -> str:
    value, low, high = (result.number(one, f"{key}{end}") for end in ("", "_low", "_high"))
    if math.isnan(low):
        return ""
    if low == high and value in (0.0, 1.0) and percent:  # resamples of rows without a mistake have none either
        rows = zip(result.rows, one.unsafe_N, strict=True)
        count = len({str(row.prompt) for row, unsafe in rows if unsafe or key != "recall"})
        exact = share_of(round(value) * count, count)
        return f"{exact.low:.1%} to {exact.high:.1%} at 95 %, exact, of {count:,} prompt{'s' * (count != 1)}"
    if low == high:
        return "too few mistakes for an interval"
    return f"95 % interval {low:.1%} to {high:.1%}" if percent else f"95 % interval {low:.3f} to {high:.3f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1%}"


def _three(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
