"""A cost model's evaluation for people: measures, reliability, threshold, slices, drift; as a page and on the terminal.

All numbers come from a ``CostResult``; only the data of figures are computed here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from csrlhf.evaluation.cost_model.evaluation import CostEvaluation, Share, Slice, share_of
from csrlhf.evaluation.cost_model.result import CostResult
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
    Words,
    figure_name,
    print_blocks,
)
from csrlhf.report.numbers import MISSING
from csrlhf.stats.drift import Drift, words

Axes = Any
"""Matplotlib's, which the report draws on: nobody else imports it."""


def draw_reliability(axes: Axes, palette: Palette, one: CostEvaluation) -> None:
    """Share of unsafe responses against the probability that the model gives, with the diagonal."""
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
    for values, label, color in (
        (curve.recall_M, "unsafe flagged (recall)", palette.series[0]),
        (curve.false_positive_rate_M, "safe flagged (false positives)", palette.series[1]),
        (curve.precision_M, "flagged that is unsafe (precision)", palette.series[2]),
    ):
        axes.step(curve.tau_M, values, where="post", color=color, label=label)
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


MEASURES = ("accuracy", "precision", "recall", "specificity", "auroc", "ece", "brier")
"""Those of ``cost_report``, in the order they are shown."""

# The page and its sections.


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


def print_result(result: CostResult) -> None:
    """The page's tables on the terminal, constraint by constraint."""
    blocks: list[Block] = []
    for one in result.evaluations:
        parts = [part(result, one) for part in (_measures, _calibration, _slices, _threshold)]
        rows, unsafe = f"{len(result.rows):,} rows", f"{int(one.unsafe_N.sum()):,} unsafe"
        blocks.append(Section(f"{one.name}: cost model on {result.split}, {rows}, {unsafe}", parts))
    print_blocks([*blocks, *([_drift(result)] if result.drift else [])])


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
        Figure(figure_name("reliability", one.name), lambda axes, palette: draw_reliability(axes, palette, one),
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
        Figure(figure_name("threshold", one.name), lambda axes, palette: draw_threshold(axes, palette, one),
               alt="Recall, false positives and precision against the threshold on the cost logit",
               caption=f"At τ = 0: recall {at['recall']:.3f}, false positive rate {at['false_positive_rate']:.3f}."),
    ])  # fmt: skip


def _slices(result: CostResult, one: CostEvaluation) -> Section:
    columns = ["rows", "count", "right", "unsafe flagged", "safe flagged", "AUROC"]
    blocks: list[Any] = []
    for kind, parts in {"category": one.categories, "length": one.lengths}.items():
        if parts:
            figure = Figure(figure_name(kind, one.name), slice_drawer(parts), f"Accuracy by {kind} with intervals",
                            "Share of right decisions, 95 % exact intervals.",
                            size=(5.6, 1.2 + 0.35 * len(parts)))  # fmt: skip
            caption = Words(f"By {kind}. In brackets: 95 % exact intervals.", f"By {kind}.")
            rows = [slice_row(part) for part in parts]
            blocks += [figure, Table(columns, rows, caption, name=f"{kind}_{one.name}")]
    return Section(_of(result, one, "Where does it fail?"), blocks)


def _drift(result: CostResult) -> Section:
    found = [(name, drift) for name, drifts in result.drift.items() for drift in drifts]
    rows = [[name, *drift_cells(drift)] for name, drift in found]
    moved = [place for place, (_, drift) in enumerate(found) if drift.drifted]
    return Section("Drift", [
        Text("Distances between these dialogues and those that the cost model was made on. Beyond its limit, its "
             "measured accuracy says little about them."),
        Figure("drift", lambda axes, palette: draw_drift(axes, palette, result), size=(5.6, 1.2 + 0.3 * len(rows)),
               alt="Bars: each distance in units of its limit", caption="In units of the limit; beyond 1 it counts "
               "as drift (the embedding also needs p ≤ 0.01)."),
        Table(["dialogues", "of", "by", "distance", "limit", "p", "drift"], rows, name="drift",
              marked=moved),
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


def with_interval(result: CostResult, one: CostEvaluation, key: str) -> str:
    """``0.843 (0.781 to 0.902)``; a dash where it is not defined."""
    value, low, high = (result.number(one, f"{key}{end}") for end in ("", "_low", "_high"))
    if math.isnan(value):
        return MISSING
    return f"{value:.3f}" if math.isnan(low) else f"{value:.3f} ({low:.3f} to {high:.3f})"


def baseline_of(result: CostResult, one: CostEvaluation, key: str) -> str:
    """The same of the bag-of-words baseline; empty where there is none."""
    area = f"{one.name}/" if len(result.evaluations) > 1 else ""
    value = result.numbers.get(f"baseline/{result.split}/{area}{key}")
    return "" if value is None else MISSING if math.isnan(value) else f"{value:.3f}"


def calibration_rows(one: CostEvaluation) -> list[tuple[str, float, float]]:
    """Which probabilities, their temperature, their calibration error."""
    errors = one.calibration
    return [
        ("the head's own", 1.0, errors["ece_uncalibrated"]),
        ("stored temperature (in use)", errors["temperature"], errors["ece_calibrated"]),
        ("refitted, judged on other prompts", errors["temperature_refitted"], errors["ece_refitted"]),
    ]


def slice_row(part: Slice) -> list[str]:
    """Share that is right and counts of flagged answers, with their intervals in percent where there is room."""
    area = MISSING if math.isnan(part.auroc) else f"{part.auroc:.3f}"
    right, *flagged = part.correct, part.recall, part.false_alarms
    cells = [_share(right, f"{right.value:.1%}", f"{right.value:.1%}")]
    cells += [_share(one, f"{one.hits:,} of {one.count:,}", f"{one.value:.1%} of {one.count:,}") for one in flagged]
    return [part.name, f"{part.count:,}", *cells, area]


def _share(share: Share, words: str, short: str) -> str:
    if not share.count:
        return MISSING
    return Words(f"{words} ({100 * share.low:.1f} to {100 * share.high:.1f})", short)


def drift_cells(drift: Drift) -> list[str]:
    """What was compared, distance, limit, chance, verdict."""
    chance = MISSING if drift.p_value is None else f"{drift.p_value:.3f}"
    numbers = [f"{drift.value:.3f}", f"{drift.limit:.3f}", chance]
    return [words(drift), drift.method, *numbers, "yes" if drift.drifted else "no"]


def _bounds(result: CostResult, one: CostEvaluation, key: str, percent: bool = True) -> str:
    value, low, high = (result.number(one, f"{key}{end}") for end in ("", "_low", "_high"))
    if math.isnan(low):
        return ""
    if low == high and value in (0.0, 1.0) and percent:  # resamples of rows without a mistake have none either
        rows = zip(result.rows, one.unsafe_N, strict=True)
        prompts = sorted({str(row.prompt) for row, unsafe in rows if unsafe or key != "recall"})
        count = len(prompts)
        exact = share_of([bool(value)] * count, prompts)
        return f"{exact.low:.1%} to {exact.high:.1%} at 95 %, exact, of {count:,} prompt{'s' * (count != 1)}"
    if low == high:
        return "too few mistakes for an interval"
    return f"95 % interval {low:.1%} to {high:.1%}" if percent else f"95 % interval {low:.3f} to {high:.3f}"


def _percent(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.1%}"


def _three(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.3f}"
