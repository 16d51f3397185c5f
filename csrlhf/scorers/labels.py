"""Which labels of a classifier mean unsafe, or better: by the names that its configuration gives them, or by keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csrlhf.errors import UserError
from csrlhf.scorers.base import COST, DEFAULT_CONSTRAINT, REWARD

WORDS = {
    "unsafe": {
        "unsafe", "not safe", "harmful", "harm", "toxic", "toxicity", "hate", "hateful", "hate speech", "offensive",
        "dangerous", "malicious", "abusive", "abuse", "nsfw", "violation", "jailbreak", "injection",
    },
    "safe": {
        "safe", "not unsafe", "harmless", "unharmful", "not harmful", "non harmful", "non toxic", "nontoxic",
        "not toxic", "not hate", "nothate", "non hate", "no hate", "not offensive", "non offensive", "benign", "sfw",
        "not hateful", "not malicious", "not dangerous", "not abusive",
    },
    "better": {"better", "good", "helpful", "preferred", "chosen", "reward", "quality", "helpfulness"},
    "worse": {"worse", "bad", "unhelpful", "not helpful", "rejected"},
}  # fmt: skip
"""What a label's name says, in small letters, words apart."""

OPPOSITE = {"unsafe": "safe", "better": "worse"}
WANTED = {COST: "unsafe", REWARD: "better"}


def meaning(label: str) -> str | None:
    """``unsafe``, ``safe``, ``better`` or ``worse`` where a label's name says so; None where it does not."""
    words = " ".join(re.sub(r"[^a-z]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label).lower()).split())
    return next((said for said, known in WORDS.items() if words in known), None)


@dataclass(frozen=True)
class Selection:
    """Which of a classifier's labels each output is made of.

    Attributes:
        outputs: the names of the columns.
        labels: of each output, numbers of the labels that count for it.
        high: what a high score means: ``as asked``, or what the only label's name says; None where nothing does.
    """

    outputs: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    high: str | None = "as asked"


def select(
    names: Sequence[str],
    exclusive: bool,
    outputs: Sequence[str] | None,
    role: str,
    label: Any,
    labels: Mapping[str, Any] | None,
    key: str,
) -> Selection:
    """The labels of each output.

    What counts, first to last: ``labels`` by output, ``label`` for the only output, a label of the output's name, and
    what the names say (``WORDS``), where they say it of every label.

    Args:
        names: the classifier's labels, in their order.
        exclusive: whether one of them holds at a time.
        outputs: the columns that are asked for; None for those of ``labels``, else for one, or for all labels of a
            classifier whose labels do not exclude each other.
        role: ``reward`` or ``cost``.
        label: a label's name, or several.
        labels: the same by output.
        key: where the scorer is named, with its model, for messages.

    Raises:
        UserError: a name is unknown, or nothing says which label is meant.
    """
    if label is not None and labels is not None:
        raise UserError(f"{key}: has label and labels; give one of them")
    if labels is not None:
        if not isinstance(labels, Mapping) or not labels:
            raise UserError(f"{key}: labels={labels}: takes a mapping from constraints to labels")
        missing = [name for name in outputs or () if name not in labels]
        if missing:
            raise UserError(f"{key}: labels names {', '.join(labels)}, and not {', '.join(missing)}")
        wanted = tuple(labels) if outputs is None else tuple(outputs)
        return Selection(wanted, tuple(_numbers(names, labels[name], exclusive, key) for name in wanted))
    if label is not None:
        wanted = _only(outputs, role, names, key)
        return Selection(wanted, (_numbers(names, label, exclusive, key),))
    if outputs is None and not exclusive:
        return Selection(tuple(names), tuple((number,) for number in range(len(names))))
    if outputs is not None and all(name in names for name in outputs) and (role == COST or len(names) > 1):
        return Selection(tuple(outputs), tuple((names.index(name),) for name in outputs))
    if len(names) == 1:
        said = meaning(names[0])
        unknown = "as asked" if role == REWARD else None  # a single output of a reward model is the reward
        return Selection(_only(outputs, role, names, key), ((0,),), said or unknown)
    return Selection(_only(outputs, role, names, key), (_told(names, exclusive, role, key),))


def _only(outputs: Sequence[str] | None, role: str, names: Sequence[str], key: str) -> tuple[str, ...]:
    wanted = ((REWARD,) if role == REWARD else (DEFAULT_CONSTRAINT,)) if outputs is None else tuple(outputs)
    if len(wanted) != 1:
        some = dict.fromkeys(wanted, names[-1])
        raise UserError(
            f"{key} has the labels {', '.join(names)}, and not {', '.join(wanted)}; say which counts for which, "
            f"labels: {some}"
        )
    return wanted


def _numbers(names: Sequence[str], given: Any, exclusive: bool, key: str) -> tuple[int, ...]:
    listed = [str(one) for one in (given if isinstance(given, Sequence) and not isinstance(given, str) else [given])]
    unknown = [name for name in listed if name not in names]
    if unknown or not listed:
        raise UserError(f"{key} has the labels {', '.join(names)}, and not {', '.join(unknown) or 'none'}")
    if exclusive and len(names) > 1 and set(listed) == set(names):
        raise UserError(f"{key}: label names all of its labels ({', '.join(names)}), of which one always holds")
    return tuple(names.index(name) for name in listed)


def _told(names: Sequence[str], exclusive: bool, role: str, key: str) -> tuple[int, ...]:
    """The labels that mean what the role asks for, where every label's name says what it means."""
    wanted, said = WANTED[role], [meaning(name) for name in names]
    clear = exclusive and {wanted, OPPOSITE[wanted]} == set(said)
    if not clear and exclusive and len(names) == 2 and said.count(None) == 1:  # the other one is what this one is not
        known = next(one for one in said if one is not None)
        if known in (wanted, OPPOSITE[wanted]):
            return (said.index(known),) if known == wanted else (1 - said.index(known),)
    if not clear:
        raise UserError(
            f"{key} has the labels {', '.join(names)}, and nothing says which of them means {wanted}; say it with "
            f"label: in {{scorer: classifier, model: ..., label: {names[-1]}}}"
        )
    return tuple(number for number, one in enumerate(said) if one == wanted)
