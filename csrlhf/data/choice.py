"""Some of a file's prompts in the place of all: by hash and not from the top, since files are sorted in many ways."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from csrlhf.data.encoding import prompt_text
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
