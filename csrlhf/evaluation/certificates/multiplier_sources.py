"""Where estimates of λ* come from for the exact-penalty diagnostic: the run itself, a dual run, a sweep.

The diagnostic is not part of the certificate: it is about the optimum of training (docs/explanation/certificates.md).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.stats.estimates import Estimate
from csrlhf.stats.lambda_star import dual_tail, duty_cycle_estimate, exact_penalty, why_inert

SWEEP = "lambda_star.json"
HISTORY = "history.csv"
FIXED = "csrlhf.penalties.rectified.Rectified"
"""The strategy whose gate is read as a duty cycle: an on-off gate before a fixed λ."""

NOT_A_CERTIFICATE = (
    "A diagnostic of the penalty, not a certificate: it says whether λ is large enough for the penalty's optimum "
    "to keep the constraint, and nothing about this policy."
)


SHIFTED = (
    "penalty.margin_z = {margin:g}: the gate opens at d' = d - {margin:g} se(J), and the duty cycle estimates "
    "λ* at d', not at d. Along a concave frontier λ* at d' is no smaller than at d"
)


@dataclass(frozen=True)
class Reading:
    """What runs say of λ* on one constraint, before a single answer is drawn.

    Attributes:
        multiplier: λ of the certified policy, fixed and above 0.
        estimates: of λ*.
        duty: late share of open gates of the policy's own run; None where not known.
        unavailable: sources that say nothing, each with the reason.
        notes: what else to know of the estimates.
    """

    multiplier: float
    estimates: tuple[Estimate, ...]
    duty: float | None
    unavailable: tuple[str, ...]
    notes: tuple[str, ...]


def read_multipliers(policy: Path, sources: Sequence[str], constraints: Sequence[str]) -> dict[str, Reading]:
    """What is known of λ* on each constraint that was trained with a fixed λ above 0; none for other penalties.

    Args:
        policy: folder of the certified policy.
        sources: ``certify.lambda_from``: folders of sweeps and of dual runs.
        constraints: names.

    Raises:
        UserError: a source is missing, or is neither; or λ* is given and the policy has no fixed λ.
    """
    penalty = _penalty(policy)
    multipliers = _multipliers(penalty, constraints) if penalty.get("_target_") == FIXED else {}
    if sources and not multipliers:
        raise UserError(
            f"certify.lambda_from={', '.join(sources)}: the diagnostic is about a fixed λ above 0, and {policy} was "
            "not trained with one (penalty=rectified); leave it null"
        )
    found = {}
    for name, multiplier in multipliers.items():
        estimates: list[Estimate] = []
        unavailable: list[str] = []
        own = _own(policy, penalty, name, multiplier, len(constraints))
        for source in (own, *(_estimate(Path(source).expanduser(), name, len(constraints)) for source in sources)):
            (unavailable if isinstance(source, str) else estimates).append(source)  # type: ignore[arg-type]  # by type
        margin = float(penalty.get("margin_z") or 0.0)
        duty, notes = None, ()
        if isinstance(own, Estimate):
            duty, notes = own.value / multiplier, (SHIFTED.format(margin=margin),) if margin > 0 else ()
        found[name] = Reading(multiplier, tuple(estimates), duty, tuple(unavailable), notes)
    return found


def diagnostic(
    readings: Mapping[str, Reading], certified: Mapping[str, bool], reward_span: float | None
) -> dict[str, Any] | None:
    """The diagnostic of each constraint; None where nothing was read.

    Args:
        readings: by constraint.
        certified: by constraint, whether its violation rate is certified.
        reward_span: of the certified answers; None without a reward model.
    """
    found = {}
    for name, one in readings.items():
        result = exact_penalty(one.multiplier, one.estimates, one.duty, certified[name], reward_span=reward_span)
        found[name] = asdict(result) | {"unavailable": list(one.unavailable), "notes": list(one.notes)}
    return {"note": NOT_A_CERTIFICATE, "constraints": found} if found else None


def _config(policy: Path) -> dict[str, Any]:
    record = artifacts.read_record(policy) if policy.is_dir() else None
    return (record or {}).get("config") or {}


def _penalty(policy: Path) -> dict[str, Any]:
    return _config(policy).get("penalty") or {}


def _why_inert(policy: Path) -> str | None:
    advantage = _config(policy).get("advantage") or {}
    clipped = _numbers(policy / HISTORY, "policy/clip_active")
    return why_inert(str(advantage.get("_target_", "")).rpartition(".")[2], advantage.get("normalise"), clipped)


def _multipliers(penalty: Mapping[str, Any], constraints: Sequence[str]) -> dict[str, float]:
    """λ of the constraints that have one; without a penalty there is nothing to diagnose."""
    value = penalty.get("multiplier")
    given = value if isinstance(value, Mapping) else dict.fromkeys(constraints, value)
    return {name: float(one) for name in constraints if (one := given.get(name))}


def _own(policy: Path, penalty: Mapping[str, Any], name: str, multiplier: float, count: int) -> Estimate | str:
    """The run's own duty cycle, or why it says nothing."""
    path = policy / HISTORY
    if not path.is_file():
        return f"the run's own duty cycle: {policy.name} has no {HISTORY}"
    weights = _column(path, "weight", name, count)
    if not weights:
        return f"the run's own duty cycle: {policy.name}/{HISTORY} has no weights of the penalty on {name}"
    if (reason := _why_inert(policy)) is not None:
        return f"the run's own duty cycle: {reason}"
    try:
        gates = [weight / multiplier for weight in weights]
        return duty_cycle_estimate(multiplier, gates, str(penalty.get("normaliser")), str(penalty.get("gate", "batch")))
    except UserError as error:  # too short a run, a normaliser that follows the gate
        return f"the run's own duty cycle: {error}"


def _estimate(source: Path, name: str, count: int) -> Estimate | str:
    """What one source says of λ*, or why it says nothing."""
    if (source / SWEEP).is_file():
        return _of_sweep(source / SWEEP)
    path = source / HISTORY
    if not path.is_file():
        raise UserError(
            f"certify.lambda_from={source}: holds neither {SWEEP} (of a sweep) nor {HISTORY} (of a dual run); name "
            "such a folder"
        )
    if _penalty(source).get("_target_") == FIXED:
        raise UserError(
            f"certify.lambda_from={source}: its λ is fixed, and moves to no λ*; name a dual run, e.g. of "
            "penalty=lagrangian"
        )
    multipliers = _column(path, "multiplier", name, count)
    if not multipliers:
        raise UserError(f"{path}: has no column penalty/multiplier; name the folder of a run of stage=ppo")
    if (reason := _why_inert(source)) is not None:
        return f"the dual run {source}: {reason}"
    try:
        return dual_tail(multipliers)
    except UserError as error:  # too short a run
        return f"the dual run {source}: {error}"


def _of_sweep(path: Path) -> Estimate:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        value, lower, upper = (content[key] for key in ("value", "lower", "upper"))
        points = content.get("points", [])
        count = len(points) if isinstance(points, list) else int(points)
        return Estimate(
            float(value), float(lower or 0.0), math.inf if upper is None else float(upper),
            str(content.get("method", "frontier slope")), count,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is not what a sweep writes ({error!r}); run python -m csrlhf.sweep again") from error


def _column(path: Path, key: str, name: str, count: int) -> list[float]:
    """The numbers of ``penalty/<key>`` in a history, by constraint where there are several."""
    return _numbers(path, f"penalty/{key}" if count == 1 else f"penalty/{name}/{key}")


def _numbers(path: Path, column: str) -> list[float]:
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
