"""Prompts on which responses were seen before a certificate: a choice by them is one by the certificate's own evidence.

A bound holds for prompts that had no part in choosing what is certified. Of m policies that are all unsafe in exactly
the share d of the cases, the one that looks best on some prompts is certified on the same prompts far more often than
in a share δ; with δ/m for each it is not. So every evaluation is recorded with the policies that it was of
(``runs/seen_prompts.py``), and here the records are held against the prompts that are to certify.

Prompts are kept as hashes of their normalised text: a policy's folder may be given away, and prompts may be secret.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import normalise
from csrlhf.errors import UserError
from csrlhf.types import Prompt

EVALUATE, DECODE, COST_MODEL, CERTIFY = "evaluate", "decode", "cost_model", "certify"
CHOICES = (EVALUATE, DECODE)
"""What policies and ways of decoding are chosen by. Certificates are listed beside them: each holds alone."""

NAMED = 3
"""Looks and prompts that a message names."""


def prompt_hash(normalised: str) -> str:
    """Sixteen hexadecimal digits of a normalised prompt."""
    return hashlib.sha256(normalised.encode()).hexdigest()[:16]


def prompt_hashes(prompts: Iterable[Prompt]) -> frozenset[str]:
    """Of the different prompts."""
    return frozenset(prompt_hash(normalise(prompt_text(prompt))) for prompt in prompts)


def decoding_digest(settings: Mapping[str, Any]) -> str:
    """A hash of what a response's distribution depends on beside the policy; the seed is no part of it."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def plain_decoding(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one draw per prompt."""
    return {"decode": "plain", "sampling": dict(sampling)}


def candidate_of(identity: Mapping[str, Any], decoding: str | None) -> str:
    """What tells policies, and ways of decoding them, apart.

    Args:
        identity: of a model: its ``fingerprint``, or where it has none its ``sha256``.
        decoding: a ``decoding_digest``; None where nothing was decoded.
    """
    return f"{identity['fingerprint'] or identity['sha256']}/{decoding or ''}"


@dataclass(frozen=True)
class Seen:
    """What a stage has seen: a module's ``seen``, which the runner records.

    Attributes:
        kind: ``evaluate``, ``decode``, ``certify``, or ``cost_model``, the evaluation of one.
        models: folders by name, of policies or of cost models; of kept responses, whose models may be gone, their
            fingerprints.
        prompts: that were answered, or whose responses were judged.
        decoding: hash of how, see ``decoding_digest``; None where nothing was decoded.
        seed: of the draws; None where it does not matter.
    """

    kind: str
    models: Mapping[str, str]
    prompts: Sequence[Prompt]
    decoding: str | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Look:
    """A recorded ``Seen``.

    Attributes:
        kind: see :class:`Seen`.
        place: the folder of its result.
        created: when, in ISO 8601.
        models: names of the models by ``candidate_of`` them.
        prompts: hashes of the prompts.
        seed: of the draws.
    """

    kind: str
    place: str
    created: str
    models: Mapping[str, str]
    prompts: frozenset[str]
    seed: int | None = None

    @property
    def words(self) -> str:
        """For messages: ``stage=evaluate of 2026-01-31 12:00 (artifacts/evaluate/run: ppo, sft)``."""
        stage = "stage=evaluate evaluate=cost_model" if self.kind == COST_MODEL else f"stage={self.kind}"
        when = self.created[:16].replace("T", " ")
        return f"{stage} of {when} ({self.place}: {', '.join(sorted(set(self.models.values())))})"

    def record(self) -> dict[str, Any]:
        """For a certificate."""
        models = sorted(set(self.models.values()))
        return {"kind": self.kind, "place": self.place, "created": self.created, "models": models}


@dataclass(frozen=True)
class SeenBefore:
    """What was seen of a certificate's prompts.

    Attributes:
        prompts: how many of them.
        looks: the evaluations and decodings that δ has paid for.
        candidates: what could have been chosen among, the certified one included; 1 without looks.
        certificates: earlier ones on some of these prompts.
    """

    prompts: int = 0
    looks: tuple[Look, ...] = ()
    candidates: int = 1
    certificates: tuple[Look, ...] = ()

    def record(self, made: str | None) -> dict[str, Any]:
        """What a certificate says of it; nothing where nothing was seen.

        Args:
            made: when the certified policy was made, in ISO 8601; None where that is not known.
        """
        found: dict[str, Any] = {}
        if self.looks:
            later = made is not None and any(made > look.created for look in self.looks)
            looks = [look.record() for look in self.looks]
            found["seen"] = {
                "prompts": self.prompts, "candidates": self.candidates, "looks": looks, "policy_is_later": later,
            }  # fmt: skip
        if self.certificates:
            found["certificates"] = [look.record() for look in self.certificates]
        return found


@dataclass(frozen=True)
class Certifying:
    """What is to be certified.

    Attributes:
        candidate: policy and way of decoding, see ``candidate_of``.
        seed: of the draws.
        num_runs: m of δ/m.
        key: what named the prompts, for messages.
        texts: prompts by their hash.
    """

    candidate: str
    seed: int
    num_runs: int
    key: str
    texts: Mapping[str, str] = field(default_factory=dict)


def check_seen(looks: Iterable[Look], given: Certifying) -> SeenBefore:
    """What was seen of the prompts before, if δ pays for it.

    Looks that came after the same certificate's first making are left out: they had no part in it, and kept responses
    give the same certificate again.

    Raises:
        UserError: a threshold was chosen on some of the prompts, or policies were, and ``num_runs`` is below the number
            of candidates; the message names prompts, looks and ways out.
    """
    own = frozenset(given.texts)
    touching = sorted((look for look in looks if look.prompts & own), key=lambda look: (look.created, look.place))
    mine = [look for look in touching if _is_this(look, given, own)]
    first = min((look.created for look in mine), default=None)
    before = [look for look in touching if look not in mine and (first is None or look.created <= first)]
    if chosen := [look for look in before if look.kind == COST_MODEL]:
        raise UserError(
            f"{_what(chosen, given)} of a threshold on the cost model that counts here: "
            f"{_list(chosen)}. Leave them out, or name fresh prompts; no certify.num_runs accounts for that"
        )
    choices = [look for look in before if look.kind in CHOICES]
    certificates = tuple(look for look in before if look.kind == CERTIFY)
    if not choices:
        return SeenBefore(certificates=certificates)
    # Two at least: these prompts were looked at, and another set could have been taken had they looked worse.
    candidates = max(2, len({given.candidate, *(candidate for look in choices for candidate in look.models)}))
    if given.num_runs < candidates:
        raise UserError(
            f"{_what(choices, given)} among policies or ways of decoding, by {_list(choices)}: the best of several on "
            "prompts that certify it as well passes too easily. Name fresh prompts, leave these out, or let δ pay for "
            f"the choice: certify.num_runs={candidates}, one for each candidate that was seen on them and this one"
        )
    return SeenBefore(len(_shared(choices, own)), tuple(choices), candidates, certificates)


def _is_this(look: Look, given: Certifying, own: frozenset[str]) -> bool:
    """The look is an earlier making of the very certificate."""
    same = look.kind == CERTIFY and given.candidate in look.models and look.seed == given.seed
    return same and look.prompts == own


def _shared(looks: Sequence[Look], own: frozenset[str]) -> frozenset[str]:
    return own & frozenset().union(*(look.prompts for look in looks))


def _what(looks: Sequence[Look], given: Certifying) -> str:
    shared = [text for name, text in given.texts.items() if name in _shared(looks, frozenset(given.texts))]
    quoted = "; ".join(f"'{_short(text)}'" for text in shared[:NAMED])
    more = f"; and {len(shared) - NAMED:,} more" if len(shared) > NAMED else ""
    head = f"{given.key}: {len(shared):,} of {len(given.texts):,} prompts ({quoted}{more})"
    return f"{head} may have decided the choice"


def _list(looks: Sequence[Look]) -> str:
    more = f"; and {len(looks) - NAMED:,} more" if len(looks) > NAMED else ""
    return "; ".join(look.words for look in looks[-NAMED:]) + more


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 40 else words[:39] + "…"
