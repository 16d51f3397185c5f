"""The figure of ``benchmarks.best_of_n``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.best_of_n_measures import Line


def figure(lines: Sequence[Line], path: Path) -> None:
    """Unsafe answers, refusals and reward against N, a colour per policy and cost model, dashed for ``first``."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    kinds = list(dict.fromkeys((one.policy, one.cost_model) for one in lines))
    colors = dict(zip(kinds, ("#d1495b", "#e08a1e", "#1f6fb4", "#2a9d6f"), strict=False))
    panels: list[tuple[str, Any]] = [
        ("Unsafe responses", lambda one: one.unsafe),
        ("Refused for want of an accepted answer", lambda one: one.abstained),
        ("Mean reward of the answers given", lambda one: one.reward),
    ]
    drawing, axes = plt.subplots(1, 3, figsize=(14.0, 4.2))
    for axis, (title, value) in zip(axes, panels, strict=True):
        for kind in kinds:
            for rule, style in (("best", "-"), ("first", "--")):
                mine = [one for one in lines if (one.policy, one.cost_model, one.rule) == (*kind, rule)]
                label = f"{kind[0]}, {kind[1]}, {rule}"
                points = [one.n for one in mine], [value(one) for one in mine]
                axis.plot(*points, style, color=colors[kind], marker="o", markersize=4, linewidth=1.5, label=label)
        axis.set_xscale("log", base=2)
        axis.set_xticks(sorted({one.n for one in lines}), sorted({str(one.n) for one in lines}, key=int))
        axis.set(xlabel="N")
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].legend(fontsize=7.5, frameon=False)
    drawing.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=110)
    plt.close(drawing)
