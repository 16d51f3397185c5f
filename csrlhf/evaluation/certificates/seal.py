"""The hash of a certificate's content in the certificate: a bound that somebody has edited does not pass for one.

It shows mistakes and hasty hands. Who means to forge one can hash it again: what proves a certificate is that
``stage=certify certify.outputs=...`` makes the same from the answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "content_sha256"
OLD_VERDICTS = {"REFUSED": "VIOLATED"}
"""Verdicts of layout 1, and the current ones. The seal of an old certificate covers the old words."""


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


def with_current_verdicts(document: Mapping[str, Any]) -> dict[str, Any]:
    """The certificate with the current word for each verdict: of the whole, of constraints and of statements.

    Check the seal first: it holds for the document as it was written.
    """

    def renewed(part: Mapping[str, Any]) -> dict[str, Any]:
        return {**part, "verdict": OLD_VERDICTS.get(part["verdict"], part["verdict"])}

    constraints = {
        name: renewed(one) | {"statements": [renewed(record) for record in one["statements"]]}
        for name, one in document.get("constraints", {}).items()
    }
    return renewed(document) | ({"constraints": constraints} if constraints else {})
