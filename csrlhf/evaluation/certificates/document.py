"""What ``stage=certify`` writes: the certificate with the exact-penalty diagnostic beside it, sealed, and its figures.

The seal is a hash of a certificate's content in the certificate: a bound that somebody has edited does not pass for
one. It shows mistakes and hasty hands. Who means to forge one can hash it again: what proves a certificate is that
``stage=certify certify.outputs=...`` makes the same from the answers.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf import __version__
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.answers.records import Answer, about_path, write_answers
from csrlhf.evaluation.certificates.certificate import Evidence, make_certificate
from csrlhf.evaluation.certificates.label_order import FILE, OrderFile, write_order
from csrlhf.evaluation.certificates.multiplier_sources import Reading, diagnostic
from csrlhf.evaluation.certificates.page import write_page
from csrlhf.evaluation.certificates.words import with_current_verdicts
from csrlhf.evaluation.settings import CertificateSettings
from csrlhf.report import Report
from csrlhf.runs.artifacts import installed, json_text, write_json

ANSWERS = "answers.jsonl"
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
        outlook = constraint.get("outlook") or {}
        if outlook.get("prompts"):
            metrics[f"{key}/prompts_to_decide"] = float(outlook["prompts"])
        if outlook.get("labels"):
            metrics[f"{key}/labels_to_decide"] = float(outlook["labels"])
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


def certificate_document(
    evidence: Evidence, settings: CertificateSettings, multipliers: Mapping[str, Reading]
) -> dict[str, Any]:
    """What ``certificate.json`` holds.

    Args:
        evidence: the responses, and where they come from.
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


def write_certificate(
    folder: Path,
    document: Mapping[str, Any],
    answers: Sequence[Answer],
    about: Mapping[str, Any],
    order: OrderFile,
    outputs: str | None = None,
) -> Report:
    """Writes responses, the order in which to label them, certificate and page; returns the page.

    Args:
        folder: exists.
        document: the certificate.
        answers: that it stands on.
        about: their provenance.
        order: in which to label them.
        outputs: the file that they were read from; None where they are fresh.
    """
    path = folder / ANSWERS
    if outputs is None:
        write_answers(path, answers, about)
    else:  # byte by byte: their hash is in the certificate
        given = Path(outputs).expanduser()
        shutil.copyfile(given, path)
        shutil.copyfile(about_path(given), about_path(path))
    write_order(folder / FILE, order)
    write_json(folder / "certificate.json", sealed(json.loads(json_text(document))))
    return write_page(folder / "certificate.html", document, answers)


# Whether a certificate covers these responses: same policy, cost models, rule, N, thresholds and sampling.
#
# A certificate of best of N holds :meth:`Decoder.identity` of what it certifies under the key ``decode``. With another
# N or rule the share of unsafe responses is another one (docs/how-to/decode.md), so nothing short of all of it will do.

IDENTITY = "decode"
"""The certificate's key that holds the identity of the decoder."""

CERTIFIED = "CERTIFIED"

WORDS = {
    "policy": "policy",
    "reward": "reward model",
    "cost": "cost models",
    "rule": "rule",
    "n": "N",
    "threshold": "threshold",
    "sampling": "sampling",
}
"""The parts of an identity, in messages."""


def read_certificate(path: str | Path, identity: Mapping[str, Any], key: str = "decode.certificate") -> dict[str, Any]:
    """A certificate of the decoder with this identity.

    Args:
        path: a ``certificate.json`` of ``stage=certify``, or its folder.
        identity: of the decoder.
        key: what named the file, for the message.

    Returns:
        The certificate's content, with the current words for its verdicts and the sha256 of the file under ``sha256``.

    Raises:
        UserError: there is no such file, it is no certificate or was edited, or it certifies something else; the
            message names what differs. A verdict other than CERTIFIED is a warning: its bounds hold, and certify
            nothing.
    """
    file = Path(path).expanduser()
    file = file / "certificate.json" if file.is_dir() else file
    if not file.is_file():
        raise UserError(f"{key}={path}: there is no such file; stage=certify certify=best_of_n makes one")
    text = file.read_bytes()
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{key}={path}: is not valid JSON; make it again with stage=certify") from error
    if not isinstance(content, dict) or "verdict" not in content:
        raise UserError(
            f"{key}={path}: is not a certificate (it has no verdict); name the certificate.json of stage=certify"
        )
    _check_seal(content, f"{key}={path}")
    content = with_current_verdicts(content)
    certified = content.get(IDENTITY)
    if not isinstance(certified, dict) or "rule" not in certified:
        raise UserError(
            f"{key}={path}: certifies plain responses of a policy, one per prompt; certify best of N with "
            "stage=certify certify=best_of_n"
        )
    problems = differences(certified, identity)
    if problems:
        raise UserError(
            f"{key}={path}: certifies other responses than these ({'; '.join(problems)}); decode as it says, or make a "
            "certificate of these settings with stage=certify certify=best_of_n"
        )
    if content["verdict"] != CERTIFIED:
        warnings.warn(
            f"{key}={path}: its verdict is {content['verdict']}: its bounds are carried along, and certify nothing",
            InputWarning,
            stacklevel=2,
        )
    return content | {"sha256": hashlib.sha256(text).hexdigest()}


def _check_seal(content: Mapping[str, Any], name: str) -> None:
    """Raises where the content is not what was sealed; warns where it was not."""
    holds = seal_holds(content)
    if holds is False:
        raise UserError(
            f"{name}: was changed after it was written (its {SEAL} is that of another content); restore it, or make it "
            "again from its responses: stage=certify certify.outputs=.../answers.jsonl"
        )
    if holds is None:
        warnings.warn(f"{name}: has no {SEAL}: nothing tells whether it was edited", InputWarning, stacklevel=3)


def differences(certified: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """What two identities differ in, in words; numbers are equal as numbers, whatever JSON made of them."""
    found = []
    for part, word in WORDS.items():
        theirs, ours = certified.get(part), identity[part]
        if _plain(theirs) != _plain(ours):
            found.append(f"{word} {_short(theirs)}, here {_short(ours)}")
    return found


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _short(value: Any) -> str:
    """Hashes cut to eight digits, the rest as it is."""
    if isinstance(value, list):
        return ", ".join(map(_short, value)) or "none"
    text = str(value)
    return text[:8] if len(text) == 64 and text.isalnum() else text
