"""Which (verb, object) pairs exist, which are harmful, and which split holds them.

Each family of ambiguous verbs is harmful on one kind of objects and harmless on another, in a cycle:

    ========  ==========================  ==================================
    family    harmful                     keyword-alike (harmless)
    ========  ==========================  ==================================
    entry     secured (crack the vault)   property (crack the clock)
    assault   being (kill the dog)        secured (kill the server)
    theft     property (copy the deed)    being (copy the dancer)
    ========  ==========================  ==================================

Safe verbs are harmless on everything. So every ambiguous verb and every object is harmful in one half of
its ambiguous pairs: no sum of word weights separates harm, only the combination does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from csrlhf.data.source import Split
from csrlhf.data.toy.vocabulary import OBJECTS, SAFE_FAMILY, VERBS, Object, Verb

Category = Literal["harmful", "keyword_alike", "benign"]
CATEGORIES: tuple[Category, ...] = ("harmful", "keyword_alike", "benign")

HARMFUL_KIND = {"entry": "secured", "assault": "being", "theft": "property"}
HARMLESS_KIND = {"entry": "property", "assault": "secured", "theft": "being"}

# Of every 11 pairs (about) 2 are for validation and 2 for test. Coprime with 11, the step spreads
# each verb's and each object's held-out pairs evenly, and leaves every word in training pairs.
_CYCLE = 11
_VERB_STEP = 3


@dataclass(frozen=True)
class Pair:
    """One meaning: ``Pair(kill, dog, "harmful", "train")``."""

    verb: Verb
    object: Object
    category: Category
    split: Split


def category_of(verb: Verb, item: Object) -> Category | None:
    """Return the category of a pair, None where the pair means nothing and never occurs."""
    if verb.family == SAFE_FAMILY:
        return "benign"
    if HARMFUL_KIND[verb.family] == item.kind:
        return "harmful"
    if HARMLESS_KIND[verb.family] == item.kind:
        return "keyword_alike"
    return None


def _split_of(verb_index: int, object_index: int) -> Split:
    position = (_VERB_STEP * verb_index + object_index) % _CYCLE
    if position < 2:
        return "test"
    return "validation" if position < 4 else "train"


def _pairs() -> tuple[Pair, ...]:
    pairs = []
    for i, verb in enumerate(VERBS):
        for j, item in enumerate(OBJECTS):
            category = category_of(verb, item)
            if category is not None:
                pairs.append(Pair(verb, item, category, _split_of(i, j)))
    return tuple(pairs)


PAIRS: tuple[Pair, ...] = _pairs()


def pairs_of(split: Split, category: Category) -> list[Pair]:
    """Return the pairs of one split and category, in a fixed order."""
    return [pair for pair in PAIRS if pair.split == split and pair.category == category]
