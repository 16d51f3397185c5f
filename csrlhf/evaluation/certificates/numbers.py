"""A certificate's flat figures for ``metrics.json``, and the versions of what computed it."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from typing import Any

from csrlhf import __version__
from csrlhf.versions import installed

LIBRARIES = ("torch", "transformers", "lightning", "numpy", "scipy", "ppi-python")
NUMBERS = {"CERTIFIED": 1.0, "INCONCLUSIVE": 0.0, "VIOLATED": -1.0}
"""Verdicts as numbers, for sweeps and plots."""


def versions() -> dict[str, str]:
    """Of this package, of Python and of the libraries that draw, score and bound."""
    return {"csrlhf": __version__, "python": platform.python_version(), **installed(LIBRARIES)}


def certificate_metrics(document: Mapping[str, Any]) -> dict[str, float]:
    """``certify/...``; keys as in docs/reference/metrics.md. An infinite bound is NaN: it says nothing."""
    metrics = {
        "certify/verdict": NUMBERS[document["verdict"]],
        "certify/prompts": float(document["n"]),
        "certify/delta_each": document["confidence"]["delta_each"],
    }
    for name, constraint in document["constraints"].items():
        key = f"certify/{name}"
        metrics[f"{key}/verdict"] = NUMBERS[constraint["verdict"]]
        deciding = [record for record in constraint["statements"] if record["decides"]]
        for place, record in zip((key, f"{key}/true"), deciding, strict=False):
            metrics[f"{place}/rate"] = record["value"]
            metrics[f"{place}/lower_bound"] = _finite(record["lower"])
            metrics[f"{place}/upper_bound"] = _finite(record["upper"])
        found = (document.get("exact_penalty") or {}).get("constraints", {}).get(name)
        if found is not None:
            metrics[f"{key}/lambda_star_upper"] = _finite(found["upper"])
            metrics[f"{key}/exact_penalty"] = float(found["passed"])
    if document["abstention"]:
        metrics["certify/abstention/rate"] = document["abstention"][0]["value"]
        metrics["certify/abstention/upper_bound"] = document["abstention"][0]["upper"]
    return metrics


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
