"""The numbers of a file of answers: ``metrics.json`` of ``stage=decode``, and its line on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any


def answer_numbers(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What docs/reference/metrics.md lists under ``decode/``.

    Args:
        records: lines of the file; at least one.
    """
    answered = [record for record in records if not record["abstained"]]
    rewards = [record["reward"] for record in answered if record["reward"] is not None]
    found = {
        "decode/prompts": float(len(records)),
        "decode/abstained": fmean(record["abstained"] for record in records),
        "decode/tried": fmean(record["tried"] for record in records),
    }
    if rewards:
        found["decode/reward"] = fmean(rewards)
    for name in answered[0]["costs"] if answered else ():
        found[f"decode/{name}/cost"] = fmean(record["costs"][name] for record in answered)
    return found


def summary(metrics: Mapping[str, float]) -> str:
    """The same in one line."""
    reward = f", mean reward {metrics['decode/reward']:.3f}" if "decode/reward" in metrics else ""
    return (
        f"decode: {metrics['decode/prompts']:.0f} prompts, {metrics['decode/abstained']:.1%} without an "
        f"accepted response, {metrics['decode/tried']:.2f} candidates each{reward}"
    )
