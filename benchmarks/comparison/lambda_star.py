"""The optimal dual variable λ* of the toy problem, estimated in two ways from short runs.

1. The dual: mean of the multiplier of a ``lagrangian`` run over the last third of its iterations. It depends on the
   dual's step: after the overshoot of the beginning the multiplier falls slowly, since a violation is never below -d.
2. The duty cycle: with a constant normaliser a gate without margin, with λ > λ*, that looks at other prompts than it
   acts on, is open at stationarity for a share λ*/λ of them, so λ x duty estimates λ* whatever the step sizes are. Its
   interval (Clopper-Pearson over the late iterations of all probe runs, which takes iterations for independent)
   brackets λ*.

What is used is the dual's figure, moved to the nearest end of the bracket where it lies outside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparison.jobs import Job
from benchmarks.comparison.measures import MULTIPLIER, WEIGHT, Row, last_third, mean
from csrlhf.runs.artifacts import write_json
from csrlhf.stats.bounds import clopper_pearson_upper

FILE = "lambda_star.json"


@dataclass(frozen=True)
class LambdaStar:
    """The estimate and where it comes from.

    Attributes:
        value: what multiples are multiples of.
        how: in words.
        dual: mean late multiplier of each dual run.
        duty: late share of open gates of each probe run.
        probe: the probes' λ.
        low: lower end of the bracket.
        high: upper end.
        seeds: of the runs.
    """

    value: float
    how: str
    dual: tuple[float, ...] = ()
    duty: tuple[float, ...] = ()
    probe: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[int, ...] = ()

    def words(self) -> str:
        """One sentence for the table."""
        if not self.dual:
            return f"λ* = {self.value:g} ({self.how})."
        duals, duties = (", ".join(f"{value:.3g}" for value in values) for values in (self.dual, self.duty))
        return (
            f"λ* = {self.value:g} ({self.how}): late multiplier of the dual runs {duals}; a gate with "
            f"λ = {self.probe:g} and no margin was open for a share {duties} of the late prompts, which brackets λ* in "
            f"{self.low:.3g} to {self.high:.3g} (seeds {', '.join(map(str, self.seeds))})."
        )


def estimate_lambda(
    dual: Sequence[Sequence[Row]], probes: Sequence[Sequence[Row]], probe_multiplier: float, seeds: Sequence[int]
) -> LambdaStar:
    """From the histories of dual runs and of probe runs, training rows only."""
    late_dual = [mean([row[MULTIPLIER] for row in last_third(rows)]) for rows in dual]
    gates = [[row[WEIGHT] / probe_multiplier for row in last_third(rows)] for rows in probes]  # shares of the prompts
    num_open, count = sum(map(sum, gates)), sum(map(len, gates))
    high = probe_multiplier * clopper_pearson_upper(math.ceil(num_open - 1e-9), count, 0.975)
    low = probe_multiplier * (1 - clopper_pearson_upper(math.ceil(count - num_open - 1e-9), count, 0.975))
    average = mean(late_dual)
    value = min(max(average, low), high)
    how = "mean of the duals' late multiplier"
    if value != average:
        how = f"{how}, {average:.3g}, moved to the {'lower' if value == low else 'upper'} end of the bracket"
    return LambdaStar(
        value=float(f"{value:.3g}"),
        how=how,
        dual=tuple(late_dual),
        duty=tuple(sum(gate) / len(gate) for gate in gates),
        probe=probe_multiplier,
        low=low,
        high=high,
        seeds=tuple(seeds),
    )


def training_rows(ppo: Job) -> list[Row]:
    """One row per iteration of a finished run."""
    from csrlhf.tracking.history import read_history  # imports Lightning

    return [row for row in read_history(ppo.result / "history.csv") if WEIGHT in row]


def store(found: LambdaStar, out: Path) -> None:
    """Keep the estimate: later phases use the same, or their multiples would mean something else."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FILE, asdict(found))


def stored(out: Path) -> LambdaStar | None:
    """The estimate of an earlier phase."""
    path = out / FILE
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in ("dual", "duty", "seeds"):
        content[key] = tuple(content[key])
    return LambdaStar(**content)
