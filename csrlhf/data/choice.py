"""Some of a file's prompts in the place of all: by hash and not from the top, since files are sorted in many ways."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.types import PromptRow


def ranked(rows: Sequence[PromptRow], seed: int = 0) -> list[int]:
    """The rows' numbers in an order that their texts and the seed alone decide."""
    return sorted(
        range(len(rows)), key=lambda row: hashlib.sha256(f"{seed}/{prompt_text(rows[row].prompt)}".encode()).digest()
    )


def representative(rows: Sequence[PromptRow], count: int | None) -> list[PromptRow]:
    """``count`` rows in their order, with as many of each category (``meta``) as its share of all asks for.

    Shares are rounded by largest remainders; rows without a category are a category of their own. The choice does not
    depend on the order of the rows.

    Args:
        rows: of a split.
        count: how many; None, or more than there are, for all.
    """
    if count is None or count >= len(rows):
        return list(rows)
    by_category: dict[str, list[int]] = {}
    for row in ranked(rows):
        by_category.setdefault(str(rows[row].meta.get("category", "")), []).append(row)
    exact = {name: len(places) * count / len(rows) for name, places in by_category.items()}
    taken = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (taken[name] - exact[name], name))
    for name in by_remainder[: count - sum(taken.values())]:
        taken[name] += 1
    chosen = sorted(row for name, places in by_category.items() for row in places[: taken[name]])
    return [rows[row] for row in chosen]


def others(rows: Sequence[PromptRow], taken: Sequence[PromptRow]) -> list[PromptRow]:
    """The rows whose prompts are none of those that are taken."""
    texts = {prompt_text(row.prompt) for row in taken}
    return [row for row in rows if prompt_text(row.prompt) not in texts]


CONFIRMATION = (2, 4)
"""The least and the most prompts of a confirmation that nobody asked for, over those of an evaluation. With fewer, a
bound that pays for all looks finds more (docs/explanation/selection.md)."""


def for_confirmation(
    rows: Sequence[PromptRow], taken: Sequence[PromptRow], count: int | None, key: str = "ppo"
) -> list[PromptRow]:
    """Rows for the look that decides: as many as were asked for, or what ``PromptSettings.num_confirmation`` says.

    Args:
        rows: of the validation split.
        taken: those of every evaluation.
        count: ``num_confirmation``.
        key: of the group that holds it, for the message.

    Raises:
        UserError: there are fewer than were asked for.
    """
    if count == 0:
        return []
    rest = others(rows, taken)
    least, most = (factor * len(taken) for factor in CONFIRMATION)
    if count is None:
        return representative(rest, most) if len(rest) >= least else []
    if count > len(rest):
        raise UserError(
            f"{key}.num_confirmation={count}: {key}.num_validation={len(taken)} leaves {len(rest)} of {len(rows)} "
            f"validation prompts; set {key}.num_confirmation={len(rest)}, or bring more"
        )
    return representative(rest, count)
