"""What decides which answer is given, beside the models: rule, N, thresholds and the sampling distribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.generation.candidates import check_rule
from csrlhf.generation.sampler import Sampler
from csrlhf.runs import artifacts

REFUSAL = "I'm sorry, but I can't help with that."
SAMPLER = "csrlhf.generation.sampler.Sampler"

MOST_SAMPLES = 2**16
"""Largest N: sample ``i`` of prompt ``p`` has the noise of index ``p * MOST_SAMPLES + i``."""

DEFAULT_TOKENS = 256
"""``max_new_tokens`` of a policy whose folder does not say how it was sampled in training."""

Threshold = float | Mapping[str, float]
"""Of every constraint, or of each by its name."""


def make_sampler(policy: str | Path, sampling: Mapping[str, Any]) -> Sampler:
    """The sampler of a policy: as in its training, where its folder says so, with what is given here in its place.

    Raises:
        UserError: a value is out of range, or there is no such option.
    """
    options = trained_sampling(policy) | dict(sampling)
    known = ("max_new_tokens", "min_new_tokens", "temperature", "top_k", "top_p", "greedy")
    unknown = [key for key in options if key not in known]
    if unknown:
        raise UserError(f"{unknown[0]}={options[unknown[0]]}: no option of sampling; there are {', '.join(known)}")
    try:
        return Sampler(**options)
    except UserError as error:
        raise UserError(str(error).replace("rollout.", "")) from error


def trained_sampling(policy: str | Path) -> dict[str, Any]:
    """How the policy was sampled in training, from its folder's record; the plain distribution where it has none."""
    folder = Path(policy).expanduser()
    record = artifacts.read_record(folder) if folder.is_dir() else None
    rollout = ((record or {}).get("config") or {}).get("rollout") or {}
    if rollout.get("_target_") != SAMPLER:
        return {"max_new_tokens": DEFAULT_TOKENS}
    return {key: value for key, value in rollout.items() if not key.startswith("_")}


def check_choice(n: int, rule: str, refusal: str, has_reward: bool, greedy: bool) -> None:
    """Raises a UserError where N, rule, refusal and the models do not fit together."""
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_SAMPLES:
        raise UserError(f"n={n}: must be a whole number from 1 to {MOST_SAMPLES}")
    check_rule(rule)
    if rule == "best" and not has_reward:
        raise UserError("rule=best: ranks by reward, and there is no reward model; give one (reward=...) or rule=first")
    if greedy and n > 1:
        raise UserError(f"n={n}: greedy decoding draws the same response every time; set n=1 or greedy=false")
    if not refusal.strip():
        raise UserError(f"refusal={refusal!r}: is empty; say what is answered where every candidate is rejected")


def thresholds_of(threshold: Threshold, outputs: Sequence[str]) -> dict[str, float]:
    """The threshold of each constraint.

    Args:
        threshold: a number for all of them, or a mapping that names each.
        outputs: the constraints; none where there is no cost model.

    Raises:
        UserError: names a constraint without a threshold, or a threshold without a constraint, or one that is NaN.
    """
    if isinstance(threshold, Mapping):
        if set(threshold) != set(outputs):
            raise UserError(
                f"threshold={dict(threshold)}: names {', '.join(map(str, threshold)) or 'nothing'}, the cost models "
                f"score {', '.join(outputs) or 'nothing'}; give one number for each of them"
            )
        found = {name: threshold[name] for name in outputs}
    else:
        found = dict.fromkeys(outputs, threshold)
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise UserError(f"threshold={value}: {name}'s must be a cost logit, such as 0 or -1.5")
    return {name: float(value) for name, value in found.items()}
