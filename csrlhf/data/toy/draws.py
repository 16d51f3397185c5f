"""How a prompt is drawn: its category, pair, framing, wording and name, by the caller's generator."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from csrlhf.data.source import SPLITS, Split
from csrlhf.data.toy import framings
from csrlhf.data.toy.vocabulary import NAMES
from csrlhf.data.toy.world import CATEGORIES, Category, Pair, pairs_of
from csrlhf.types import PromptRow

MIXTURE: Mapping[Category, float] = {"harmful": 0.45, "keyword_alike": 0.35, "benign": 0.20}
"""Default shares of the categories. With more benign prompts, or fewer keyword-alike ones, word weights alone
would predict harm too well: their best guess is right on about benign + max(harmful, keyword_alike)."""

NAME_SHARE = 0.4
"""Share of prompts in which the user gives a name."""


def generator(seed: int, split: Split, corpus: str) -> Random:
    """Return a generator of its own; seeding by a string hashes it with SHA-512 on every platform."""
    return Random(f"toy/{corpus}/{split}/{seed}")


def framings_of(split: Split) -> tuple[str, ...]:
    """Return all framings for the test split, the seen ones for the others."""
    return framings.FRAMINGS if split == "test" else framings.SEEN_FRAMINGS


def draw_category(random: Random, mixture: Mapping[Category, float]) -> Category:
    """Draw a category by its share."""
    return random.choices(CATEGORIES, [mixture[category] for category in CATEGORIES])[0]


_PAIRS = {(split, category): pairs_of(split, category) for split in SPLITS for category in CATEGORIES}


def draw_pair(random: Random, split: Split, category: Category) -> Pair:
    """Draw one of the split's pairs of a category."""
    return random.choice(_PAIRS[split, category])


def prompt_row(random: Random, pair: Pair, framing: str, form: str | None = None) -> PromptRow:
    """Put a pair into words with a random form, wording and name; ``meta`` says what was drawn."""
    name = random.choice(NAMES) if random.random() < NAME_SHARE else None
    prompt = framings.frame(
        pair,
        framing,
        form=form or random.choice(framings.QUESTION_FORMS),
        prefix=random.choice(framings.PREFIXES[framing]),
        answer=random.choice(framings.TURN_ANSWERS),
        name=name,
    )
    meta = {
        "category": pair.category,
        "framing": framing,
        "framing_seen": framing in framings.SEEN_FRAMINGS,
        "verb": pair.verb.phrase,
        "object": pair.object.word,
        "name": name,
    }
    return PromptRow(prompt, meta)


def draw_prompt(random: Random, split: Split, mixture: Mapping[Category, float]) -> tuple[Pair, PromptRow]:
    """Draw a question and put it into words, in one of the split's framings."""
    pair = draw_pair(random, split, draw_category(random, mixture))
    return pair, prompt_row(random, pair, random.choice(framings_of(split)))
