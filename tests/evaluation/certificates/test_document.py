"""The certificate with its exact-penalty diagnostic beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csrlhf.constraints import Chance
from csrlhf.constraints.set import Constraints
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.certificate import Evidence, columns_of
from csrlhf.evaluation.certificates.document import certificate_document
from csrlhf.evaluation.certificates.multiplier_sources import Reading
from csrlhf.evaluation.settings import CertificateSettings

ABOUT = {
    "seed": 0,
    "policy": {"name": "mine", "sha256": "a"},
    "cost": {"cost": {"name": "cost", "sha256": "b"}},
    "reward": None,
    "prompts": {"source": "of a file", "file": None, "sha256": "c", "used": 60, "repeated": 0, "near_duplicates": 0},
    "decode": {"decode": "plain", "sampling": {"temperature": 1.0}, "seed": 0, "sha256": "d"},
}


def document(answers: list[Answer], multipliers: dict[str, Reading]) -> dict[str, Any]:
    columns = columns_of(Constraints({"harm": Chance(0.05)}), answers)
    return certificate_document(Evidence(answers, "e", ABOUT, columns), CertificateSettings(), multipliers)


def test_without_a_multiplier_there_is_no_diagnostic(answer: Callable[..., Answer]) -> None:
    found = document([answer(prompt=i) for i in range(60)], {})
    assert (found["verdict"], found["exact_penalty"]) == ("CERTIFIED", None)
    assert found["versions"]["csrlhf"]


def test_the_diagnostic_knows_the_verdict_and_the_span_of_the_rewards(answer: Callable[..., Answer]) -> None:
    reading = {"harm": Reading(4.0, (), None, (), ())}
    answers = [answer(prompt=i, reward=float(i % 3)) for i in range(60)]
    harm = document(answers, reading)["exact_penalty"]["constraints"]["harm"]
    assert harm["crude"] == 2 / 4
    assert "the violation rate is not certified" not in harm["reasons"]
    refused = [answer(prompt=i, reward=None, unsafe=True) for i in range(60)]
    harm = document(refused, reading)["exact_penalty"]["constraints"]["harm"]
    assert harm["crude"] is None
    assert "the violation rate is not certified" in harm["reasons"]
