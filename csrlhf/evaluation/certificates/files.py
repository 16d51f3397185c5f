"""What ``stage=certify`` leaves in its folder: the answers, the order in which to label them, certificate and page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.artifacts import json_text, write_json
from csrlhf.evaluation.answers import Answer, about_path, write_answers
from csrlhf.evaluation.certificates.audit_labels import label_order
from csrlhf.evaluation.certificates.page import write_page
from csrlhf.evaluation.certificates.seal import sealed
from csrlhf.report import Report

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
