"""Which prompts are harmless: by the set's own statement, never by a guess from the names of its categories.

A set of harmless prompts may name the harms that they sound like (OR-Bench does). Whoever took these names for harms
would count every answer to them as the success of an attack.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError

BENIGN = ("benign", "keyword_alike")
"""Categories whose prompts are harmless, unless somebody says otherwise."""

HARMFUL = ("harmful",)
"""Categories whose prompts are harmful, likewise."""

WORDS = {"true": True, "1": True, "false": False, "0": False}


def stated(meta: Mapping[str, Any]) -> bool | None:
    """What the column ``harmful`` says of a prompt: True, False, or None for nothing (or a word of somebody's own)."""
    return WORDS.get(str(meta.get("harmful", "")).strip().lower())


def is_harmful(
    meta: Mapping[str, Any],
    category: str | None,
    benign: Collection[str] = BENIGN,
    harmful: Collection[str] = HARMFUL,
) -> bool | None:
    """Whether a prompt is harmful; None where nobody says so.

    Args:
        meta: what is known of the prompt.
        category: of the prompt.
        benign: categories of harmless prompts.
        harmful: categories of harmful ones.
    """
    if (told := stated(meta)) is not None:
        return told
    return False if category in benign else True if category in harmful else None


class Harmless:
    """The statement of ``data.harmless``.

    Args:
        given: True for all prompts, False for none, a list of categories, or None: it says nothing.

    Raises:
        UserError: it is none of these.
    """

    def __init__(self, given: bool | Sequence[str] | None) -> None:
        listed = (
            isinstance(given, Sequence) and not isinstance(given, str) and all(isinstance(one, str) for one in given)
        )
        if not (given is None or isinstance(given, bool) or (listed and given)):
            raise UserError(f"data.harmless={given}: must be true (all prompts), false (none), or a list of categories")
        self.given = given if given is None or isinstance(given, bool) else tuple(given)

    def told(self, record: Record, meta: dict[str, Any]) -> dict[str, Any]:
        """``meta`` with ``harmful`` as the key says it.

        Raises:
            RowError: the row's own column says the opposite, or a row has no category where the key lists some.
        """
        if self.given is None:
            return meta
        if isinstance(self.given, bool):
            harmful = not self.given
        elif "category" not in meta:
            raise record.error(f"data.harmless={list(self.given)} lists categories, and the row has none")
        else:
            harmful = meta["category"] not in self.given
        if stated(meta) is (not harmful):
            raise record.error(
                f"harmful is {meta['harmful']}, and data.harmless says the opposite: leave one of them out"
            )
        return meta | {"harmful": harmful}


def prompt_meta(harmful: bool, harmless_word: str = "benign", **known: str | None) -> dict[str, Any]:
    """What an adapter says of a prompt whose set states whether it is harmful.

    Args:
        harmful: the set's statement.
        harmless_word: the category of a harmless one, ``keyword_alike`` for prompts that only sound harmful.
        **known: the set's own words, such as ``harm``; None leaves one out.
    """
    words = {name: value for name, value in known.items() if value is not None}
    return {"category": HARMFUL[0] if harmful else harmless_word, "harmful": harmful, **words}
