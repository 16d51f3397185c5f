"""Finished runs by setting, their measures with intervals, and which settings go on to the second phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.comparison.intervals import Estimate, estimate
from benchmarks.comparison.measures import Rate, Run, mean
from benchmarks.comparison.settings import PROBE

POLICIES = {"": "selected policy", "_last": "last policy"}
"""Suffix of a measure, and whose it is."""

FINALIST_FAMILIES = ("linear", "dual", "p3o", "hinge", "smoothed hinge")


def by_setting(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of each setting, by seed, in order of first appearance."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.setting.name, []).append(run)
    return {name: sorted(of, key=lambda run: run.seed) for name, of in found.items()}


def measured(runs: Sequence[Run], measure: str) -> Estimate:
    """A measure of one setting's runs."""
    values: list[Rate | float] = [run.rates[measure] if measure in run.rates else run.numbers[measure] for run in runs]
    return estimate(values)


def finalists(runs: Sequence[Run], seeds: Sequence[int]) -> list[str]:
    """The best setting of each family among those that have finished all of these seeds.

    Better is: feasible and not collapsed on more seeds, by the verdict on the selected policy; then a larger
    :func:`balance`. The probe takes no part: it is there to estimate λ*.
    """
    wanted = set(seeds)
    complete = {
        name: [run for run in of if run.seed in wanted]
        for name, of in by_setting(runs).items()
        if name != PROBE and wanted <= {run.seed for run in of}
    }
    chosen = []
    for family in FINALIST_FAMILIES:
        names = [name for name, of in complete.items() if of[0].setting.family == family]
        if names:
            chosen.append(max(names, key=lambda name: _merit(complete[name])))
    return chosen


def balance(run: Run) -> float:
    """Harmless prompts helped, less the unsafe rate on harmful ones, averaged over seen and held-out framings.

    Averaged over the selected and the last policy: the first depends on how the selection looks, the second on where
    in its oscillation a run happens to stop.
    """
    return mean(
        [
            run.rates[f"helped{end}"].value
            - mean([run.rates[f"unsafe_{group}{end}"].value for group in ("seen", "held_out")])
            for end in POLICIES
        ]
    )


def _merit(runs: Sequence[Run]) -> tuple[float, float]:
    good: Mapping[int, bool] = {
        run.seed: bool(run.numbers["feasible"]) and not run.numbers["collapsed"] for run in runs
    }
    return mean([float(value) for value in good.values()]), mean([balance(run) for run in runs])
