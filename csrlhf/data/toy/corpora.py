"""The four corpora as pure functions of (seed, split): demonstrations, preferences, labelled, prompts.

Each draws from its own generator, so sizes and shares of one corpus never move another. Training and
validation hold seen framings only; the test split holds all of them. Every split has its own pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from csrlhf.data.source import Split
from csrlhf.data.toy import framings, responses
from csrlhf.data.toy.candidates import candidate, comply, redirect
from csrlhf.data.toy.oracle import ToyOracle, annotator_reward
from csrlhf.data.toy.responses import Slots
from csrlhf.data.toy.vocabulary import NAMES
from csrlhf.data.toy.world import CATEGORIES, Category, Pair, pairs_of
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

MIXTURE: Mapping[Category, float] = {"harmful": 0.45, "keyword_alike": 0.35, "benign": 0.20}
"""Default shares of the categories. With more benign prompts, or fewer keyword-alike ones, word weights alone
would predict harm too well: their best guess is right on about benign + max(harmful, keyword_alike)."""

NAME_SHARE = 0.25
"""Share of prompts in which the user gives a name."""

HARM_QUESTION_SHARE = 0.3
"""Share of demonstrations that ask whether something is harmful; they stand in for pretraining."""

COMPLIANCE_SHARE, REFUSAL_SHARE, REDIRECT_SHARE = 0.67, 0.19, 0.08
"""Behaviour of demonstrations whatever the prompt; off-topic talk takes what is left."""


def _random(seed: int, split: Split, corpus: str) -> Random:
    """Return a generator of its own; seeding by a string hashes it with SHA-512 on every platform."""
    return Random(f"toy/{corpus}/{split}/{seed}")


def _framings(split: Split) -> tuple[str, ...]:
    return framings.FRAMINGS if split == "test" else framings.SEEN_FRAMINGS


def _draw_category(random: Random, mixture: Mapping[Category, float]) -> Category:
    return random.choices(CATEGORIES, [mixture[category] for category in CATEGORIES])[0]


_PAIRS = {
    (split, category): pairs_of(split, category)
    for split in ("train", "validation", "test")
    for category in CATEGORIES
}


def _draw_pair(random: Random, split: Split, category: Category) -> Pair:
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


def _draw_prompt(random: Random, split: Split, mixture: Mapping[Category, float]) -> tuple[Pair, PromptRow]:
    pair = _draw_pair(random, split, _draw_category(random, mixture))
    return pair, prompt_row(random, pair, random.choice(_framings(split)))


def demonstrations(
    seed: int, split: Split, size: int, mixture: Mapping[Category, float]
) -> list[DemonstrationRow]:
    """Return what the SFT model imitates: mixed behaviour, and questions about harm.

    The questions are harmful one time in two, and come in every framing, so that what the trunk learns of
    harm holds for framed prompts too.
    """
    random = _random(seed, split, "demonstrations")
    even: Mapping[Category, float] = {"harmful": 0.5, "keyword_alike": 0.35, "benign": 0.15}
    rows = []
    for _ in range(size):
        if random.random() < HARM_QUESTION_SHARE:
            pair = _draw_pair(random, split, _draw_category(random, even))
            form = random.choice(framings.HARM_QUESTIONS)
            row = prompt_row(random, pair, random.choice(_framings(split)), form)
            answer = responses.YES if pair.category == "harmful" else responses.NO
            rows.append(DemonstrationRow(row.prompt, answer))
            continue
        pair, row = _draw_prompt(random, split, mixture)
        share = random.random()
        if share < COMPLIANCE_SHARE:
            response = comply(random, Slots.of(pair), row.meta["name"])
        elif share < COMPLIANCE_SHARE + REFUSAL_SHARE:
            response = random.choice(responses.REFUSALS)
        elif share < COMPLIANCE_SHARE + REFUSAL_SHARE + REDIRECT_SHARE:
            response = redirect(random, pair)
        else:
            response = random.choice(responses.OFF_TOPICS)
        rows.append(DemonstrationRow(row.prompt, response))
    return rows


_COMPARED = {
    "correct": 0.40, "one_wrong": 0.20, "garbled": 0.10, "other": 0.08,
    "refusal": 0.09, "redirect": 0.07, "off_topic": 0.06,
}  # fmt: skip


def preferences(seed: int, split: Split, size: int, mixture: Mapping[Category, float]) -> list[PreferenceRow]:
    """Return pairs ordered by the annotator's reward; equal ones are drawn again.

    Half of what meets a correct answer is an answer with one wrong slot: hard negatives of the same kind.
    """
    random = _random(seed, split, "preferences")
    kinds, weights = list(_COMPARED), list(_COMPARED.values())
    rows: list[PreferenceRow] = []
    while len(rows) < size:
        pair, row = _draw_prompt(random, split, mixture)
        first, second = (
            candidate(random, kind, pair, row.meta["name"]) for kind in random.choices(kinds, weights, k=2)
        )
        first_reward, second_reward = annotator_reward(row, first), annotator_reward(row, second)
        if first_reward == second_reward:
            continue
        chosen, rejected = (first, second) if first_reward > second_reward else (second, first)
        rows.append(PreferenceRow(row.prompt, chosen, rejected))
    return rows


_LABELLED = {
    "correct": 0.30, "one_wrong": 0.09, "garbled": 0.09, "other": 0.05, "mixed": 0.03, "cut": 0.05,
    "refusal": 0.17, "redirect": 0.13, "off_topic": 0.09,
}  # fmt: skip


def labelled(
    seed: int, split: Split, size: int, mixture: Mapping[Category, float],
    constraints: tuple[str, ...], label_noise: float,
) -> list[LabelledRow]:  # fmt: skip
    """Return responses with their labels, one column per constraint (``harm``, ``privacy``).

    Each training label is flipped with probability ``label_noise``; validation and test labels are the truth.
    ``meta`` is the prompt's, with the drawn ``response_kind``.
    """
    random = _random(seed, split, "labelled")
    oracle = ToyOracle()
    kinds, weights = list(_LABELLED), list(_LABELLED.values())
    noise = label_noise if split == "train" else 0.0
    rows = []
    for kind in random.choices(kinds, weights, k=size):
        pair, row = _draw_prompt(random, split, mixture)
        response = candidate(random, kind, pair, row.meta["name"])
        verdict = oracle.judge(row, response)
        truth = {"harm": verdict.unsafe, "privacy": verdict.privacy}
        flips = {constraint: random.random() < noise for constraint in truth}
        unsafe = tuple(float(truth[constraint] != flips[constraint]) for constraint in constraints)
        rows.append(LabelledRow(row.prompt, response, unsafe, {**row.meta, "response_kind": kind}))
    return rows


TEST_COUNTS: Mapping[Category, tuple[int, int]] = {
    "harmful": (320, 240), "keyword_alike": (240, 180), "benign": (130, 100),
}  # fmt: skip
"""Test prompts per category: in seen framings, in held-out framings."""


def prompts(seed: int, split: Split, size: int, mixture: Mapping[Category, float]) -> list[PromptRow]:
    """Return prompts to answer. The test split has exactly ``TEST_COUNTS`` per 1,210 of ``size``."""
    random = _random(seed, split, "prompts")
    if split != "test":
        return [_draw_prompt(random, split, mixture)[1] for _ in range(size)]
    total = sum(sum(counts) for counts in TEST_COUNTS.values())
    rows = []
    for category, counts in TEST_COUNTS.items():
        for names, count in zip((framings.SEEN_FRAMINGS, framings.HELD_OUT_FRAMINGS), counts, strict=True):
            for i in range(max(1, round(size * count / total))):
                pair = _draw_pair(random, split, category)
                rows.append(prompt_row(random, pair, names[i % len(names)]))
    random.shuffle(rows)
    return rows
