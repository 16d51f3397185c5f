"""The whole document of ``stage=certify``: the certificate, and beside it the exact-penalty diagnostic."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf import __version__
from csrlhf.evaluation.answers.records import Answer, about_path, write_answers
from csrlhf.evaluation.certificates.audit_labels import label_order
from csrlhf.evaluation.certificates.certificate import Evidence, Settings, make_certificate
from csrlhf.evaluation.certificates.multiplier_sources import Reading, diagnostic
from csrlhf.evaluation.certificates.page import write_page
from csrlhf.report import Report
from csrlhf.runs.artifacts import json_text, write_json
from csrlhf.runs.fingerprint import installed

# A certificate's flat figures for ``metrics.json``, and the versions of what computed it.

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


# The hash of a certificate's content in the certificate: a bound that somebody has edited does not pass for one.
#
# It shows mistakes and hasty hands. Who means to forge one can hash it again: what proves a certificate is that
# ``stage=certify certify.outputs=...`` makes the same from the answers.

SEAL = "content_sha256"


def sealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """The certificate with the hash of all else in it.

    Args:
        document: as it is read back from JSON.
    """
    return {**document, SEAL: _digest(document)}


def seal_holds(document: Mapping[str, Any]) -> bool | None:
    """Whether the content is what was sealed; None where there is no seal."""
    return None if SEAL not in document else document[SEAL] == _digest(document)


def _digest(document: Mapping[str, Any]) -> str:
    content = {key: value for key, value in document.items() if key != SEAL}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def certificate_document(evidence: Evidence, settings: Settings, multipliers: Mapping[str, Reading]) -> dict[str, Any]:
    """What ``certificate.json`` holds.

    Args:
        evidence: the answers, and where they come from.
        settings: what is said of them.
        multipliers: what tells of λ*, by constraint; none leaves the diagnostic out.

    Raises:
        UserError: labels do not fit the answers, or a prompt was answered twice.
    """
    document = make_certificate(evidence, settings, versions())
    rewards = [answer.reward for answer in evidence.answers if answer.reward is not None]
    certified = {name: one["verdict"] == "CERTIFIED" for name, one in document["constraints"].items()}
    span = max(rewards) - min(rewards) if rewards else None
    return document | {"exact_penalty": diagnostic(multipliers, certified, span)}


# What ``stage=certify`` leaves in its folder: the answers, the order in which to label them, certificate and page.

ANSWERS = "answers.jsonl"


def write_certificate(
    folder: Path,
    document: Mapping[str, Any],
    answers: Sequence[Answer],
    about: Mapping[str, Any],
    outputs: str | None = None,
) -> Report:
    """Writes all of it and returns the page.

    Args:
        folder: exists.
        document: the certificate.
        answers: that it stands on.
        about: their provenance.
        outputs: the file that they were read from; None where they are fresh.
    """
    path = folder / ANSWERS
    if outputs is None:
        write_answers(path, answers, about)
    else:  # byte by byte: their hash is in the certificate
        given = Path(outputs).expanduser()
        shutil.copyfile(given, path)
        shutil.copyfile(about_path(given), about_path(path))
    order = label_order([answer.id for answer in answers], about["seed"])
    (folder / "label_order.txt").write_text("".join(f"{identifier}\n" for identifier in order), encoding="utf-8")
    write_json(folder / "certificate.json", sealed(json.loads(json_text(document))))
    return write_page(folder / "certificate.html", document, answers)
