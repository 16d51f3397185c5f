"""Whether a certificate covers these answers: same policy, cost models, rule, N, thresholds and sampling.

A certificate of best of N holds :meth:`Decoder.identity` of what it certifies under the key ``decode``. With another N
or rule the share of unsafe answers is another one (docs/how-to/decode.md), so nothing short of all of it will do.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.certificates.document import SEAL, seal_holds
from csrlhf.evaluation.certificates.words import with_current_verdicts

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
            message names what differs. A verdict other than CERTIFIED is a warning: its bounds hold, and do not meet
            the threshold.
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
            f"{key}={path}: its verdict is {content['verdict']}: its bounds are carried along, and do not meet its "
            "threshold",
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
