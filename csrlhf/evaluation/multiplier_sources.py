"""Where estimates of λ* come from for the exact-penalty diagnostic: the run itself, a dual run, a sweep.

The diagnostic stands beside a certificate and is none: it speaks of the optimum of training (docs/certificates.md).
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from csrlhf import artifacts
from csrlhf.certify.estimate import Estimate
from csrlhf.certify.exact_penalty import exact_penalty
from csrlhf.certify.lambda_star import dual_tail, duty_cycle_estimate
from csrlhf.errors import UserError

SWEEP = "lambda_star.json"
HISTORY = "history.csv"
FIXED = "csrlhf.penalties.rectified.Rectified"
"""The strategy whose gate is read as a duty cycle: an on-off gate before a fixed λ."""

NOT_A_CERTIFICATE = (
    "A diagnostic of the penalty, not a certificate: it says whether λ is large enough for the penalty's optimum "
    "to keep the constraint, and nothing about this policy."
)


def diagnostic(
    policy: Path, sources: Sequence[str], certified: Mapping[str, bool], reward_span: float | None
) -> dict[str, Any] | None:
    """The diagnostic of each constraint; None where neither the policy's run nor a source says anything.

    Args:
        policy: folder of the certified policy.
        sources: ``certify.lambda_from``: folders of sweeps and of dual runs.
        certified: by constraint, whether its violation rate is certified.
        reward_span: of the certified answers; None without a reward model.

    Raises:
        UserError: a source is missing, or is neither; or λ* is given and the policy has no fixed λ.
    """
    penalty = _penalty(policy)
    if penalty.get("_target_") != FIXED:
        if sources:
            raise UserError(
                f"certify.lambda_from={', '.join(sources)}: the diagnostic is about a fixed λ, and {policy} was "
                "not trained with penalty=rectified; leave it null"
            )
        return None
    found = {}
    for name, yes in certified.items():
        own = _own(policy, penalty, name, len(certified))
        estimates = [*own, *(_estimate(Path(source).expanduser(), name, len(certified)) for source in sources)]
        multiplier = _multiplier(penalty, name)
        duty = own[0].value / multiplier if own else None
        result = exact_penalty(multiplier, estimates, duty, yes, reward_span=reward_span)
        found[name] = asdict(result)
    return {"note": NOT_A_CERTIFICATE, "constraints": found}


def _penalty(policy: Path) -> dict[str, Any]:
    record = artifacts.read_record(policy) if policy.is_dir() else None
    return ((record or {}).get("config") or {}).get("penalty") or {}


def _multiplier(penalty: Mapping[str, Any], name: str) -> float:
    value = penalty["multiplier"]
    return float(value[name] if isinstance(value, Mapping) else value)


def _own(policy: Path, penalty: Mapping[str, Any], name: str, count: int) -> list[Estimate]:
    """The run's own duty cycle, where its history and a constant normaliser tell it."""
    path = policy / HISTORY
    if not path.is_file() or penalty.get("normaliser") == "weights":
        return []
    weights = _column(path, "weight", name, count)
    return [duty_cycle_estimate(_multiplier(penalty, name), weights, str(penalty["normaliser"]))] if weights else []


def _estimate(source: Path, name: str, count: int) -> Estimate:
    """What one source says of λ*."""
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
    return dual_tail(multipliers)


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
    column = f"penalty/{key}" if count == 1 else f"penalty/{name}/{key}"
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
