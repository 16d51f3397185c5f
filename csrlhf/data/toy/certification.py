"""Certification prompts of the toy world: more prompts from the held-out pairs, by a generator of their own.

They are drawn like the test prompts in seen framings, and are none of the test prompts: nothing else ever uses them,
and nothing else of the world moves for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import normalise
from csrlhf.data.toy import framings
from csrlhf.data.toy.draws import draw_category, draw_pair, generator, prompt_row
from csrlhf.data.toy.world import Category
from csrlhf.errors import UserError
from csrlhf.types import PromptRow

PATIENCE = 50
"""Draws for each prompt that is asked for, after which the world has no more new ones."""


def certification_prompts(
    seed: int, size: int, mixture: Mapping[Category, float], excluded: Collection[str]
) -> list[PromptRow]:
    """Different prompts in seen framings on held-out pairs.

    Args:
        seed: of the draws.
        size: how many.
        mixture: shares of the categories.
        excluded: normalised texts of prompts that are used elsewhere.

    Raises:
        UserError: there are not so many.
    """
    random = generator(seed, "test", "certification")
    seen = set(excluded)
    rows: list[PromptRow] = []
    for _ in range(PATIENCE * size):
        pair = draw_pair(random, "test", draw_category(random, mixture))
        row = prompt_row(random, pair, random.choice(framings.SEEN_FRAMINGS))
        text = normalise(prompt_text(row.prompt))
        if text not in seen:
            seen.add(text)
            rows.append(row)
        if len(rows) == size:
            return rows
    raise UserError(
        f"certify.num_prompts={size}: the toy world has about {len(rows)} certification prompts; ask for fewer"
    )
