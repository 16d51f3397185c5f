"""The corpora, pure functions of (seed, split): demonstrations for SFT, preferences, labelled responses, prompts.

Each draws from its own generator, so sizes and shares of one corpus never move another. Training and
validation hold seen framings only; the test split holds all of them. Every split has its own pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from csrlhf.data.pairs import pair_by_label
from csrlhf.data.source import Split, Verdict
from csrlhf.data.toy import prompts as framings
from csrlhf.data.toy import responses
from csrlhf.data.toy.oracle import ToyOracle, annotator_reward
from csrlhf.data.toy.prompts import draw_category, draw_pair, draw_prompt, framings_of, generator, prompt_row
from csrlhf.data.toy.responses import candidate, remark
from csrlhf.data.toy.world import NAMES, Category
from csrlhf.types import CostPairRow, DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

# The SFT corpus: mixed behaviour, and talk about harm.
#
# Questions and remarks stand in for what pretraining teaches a real model: what a word means, and what is harmful.

HARM_QUESTION_SHARE = 0.40
"""Share of demonstrations that ask whether something is harmful."""

NAME_QUESTION_SHARE = 0.03
"""Share of demonstrations that ask for the user's name."""

PLAIN_QUESTION_SHARE = 0.6
"""Share of these questions that are put plainly; the others come in any framing."""

HARM_QUESTION_MIXTURE: Mapping[Category, float] = {"harmful": 0.48, "keyword_alike": 0.44, "benign": 0.08}
"""Mostly ambiguous verbs, harmful as often as not: with many safe ones the verb alone would answer well,
and the trunk would stop there."""

BEHAVIOUR = {"correct": 0.61, "refusal": 0.14, "redirect": 0.06, "remark": 0.14, "off_topic": 0.05}
"""How the other demonstrations answer, whatever the prompt. A remark is a verdict on the request in place of an answer.
Without remarks the trunk works harm out after the words of a harm question only, and PPO, whose prompts have none,
can do no better than refuse by the verb."""


def _harm_question(random: Random, split: Split) -> DemonstrationRow:
    """Ask, in any framing, whether a pair is harmful: so what is learned of harm holds for framed prompts."""
    pair = draw_pair(random, split, draw_category(random, HARM_QUESTION_MIXTURE))
    framing = "plain" if random.random() < PLAIN_QUESTION_SHARE else random.choice(framings_of(split))
    row = prompt_row(random, pair, framing, random.choice(framings.HARM_QUESTIONS))
    return DemonstrationRow(row.prompt, remark(random, pair))


def _name_question(random: Random) -> DemonstrationRow:
    """Ask for the name that the user just gave: repeating it is what the privacy constraint is about."""
    name = random.choice(NAMES)
    parts = (
        random.choice(framings.PREFIXES["plain"]),
        framings.NAME_PREFIX.format(name=name),
        framings.NAME_QUESTION,
    )
    return DemonstrationRow(" ".join(filter(None, parts)), responses.NAME_ANSWER.format(name=name))


def _behaviour(random: Random, split: Split, mixture: Mapping[Category, float]) -> DemonstrationRow:
    """Answer a question as an untrained model might: mostly with help, harmful or not."""
    pair, row = draw_prompt(random, split, mixture)
    kind = random.choices(list(BEHAVIOUR), list(BEHAVIOUR.values()))[0]
    return DemonstrationRow(row.prompt, candidate(random, kind, pair, row.meta["name"]))


def demonstrations(seed: int, split: Split, size: int, mixture: Mapping[Category, float]) -> list[DemonstrationRow]:
    """Return ``size`` rows for the SFT model to imitate."""
    random = generator(seed, split, "demonstrations")
    rows = []
    for _ in range(size):
        share = random.random()
        if share < HARM_QUESTION_SHARE:
            rows.append(_harm_question(random, split))
        elif share < HARM_QUESTION_SHARE + NAME_QUESTION_SHARE:
            rows.append(_name_question(random))
        else:
            rows.append(_behaviour(random, split, mixture))
    return rows


_COMPARED = {
    "correct": 0.40, "one_wrong": 0.20, "garbled": 0.10, "other": 0.08,
    "refusal": 0.09, "redirect": 0.07, "remark": 0.03, "off_topic": 0.03,
}  # fmt: skip


def preferences(seed: int, split: Split, size: int, mixture: Mapping[Category, float]) -> list[PreferenceRow]:
    """Return pairs ordered by the annotator's reward; equal ones are drawn again.

    Half of what meets a correct answer is an answer with one wrong slot: hard negatives of the same kind.
    """
    random = generator(seed, split, "preferences")
    kinds, weights = list(_COMPARED), list(_COMPARED.values())
    rows: list[PreferenceRow] = []
    while len(rows) < size:
        pair, row = draw_prompt(random, split, mixture)
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
    "refusal": 0.17, "redirect": 0.13, "remark": 0.04, "off_topic": 0.05,
}  # fmt: skip


def labelled(
    seed: int, split: Split, size: int, mixture: Mapping[Category, float],
    constraints: tuple[str, ...], label_noise: float,
) -> list[LabelledRow]:  # fmt: skip
    """Return responses with their labels, one column per constraint (``harm``, ``privacy``).

    Each training label is flipped with probability ``label_noise``; validation and test labels are the truth.
    ``meta`` is the prompt's, with the drawn ``response_kind``.
    """
    random = generator(seed, split, "labelled")
    oracle = ToyOracle()
    kinds, weights = list(_LABELLED), list(_LABELLED.values())
    noise = label_noise if split == "train" else 0.0
    rows = []
    for kind in random.choices(kinds, weights, k=size):
        pair, row = draw_prompt(random, split, mixture)
        response = candidate(random, kind, pair, row.meta["name"])
        unsafe = _labels(random, oracle.judge(row, response), constraints, noise)
        rows.append(LabelledRow(row.prompt, response, unsafe, {**row.meta, "response_kind": kind}))
    return rows


def cost_pairs(
    seed: int, split: Split, size: int, mixture: Mapping[Category, float],
    constraints: tuple[str, ...], label_noise: float,
) -> list[CostPairRow]:  # fmt: skip
    """Return pairs of responses to one prompt, drawn and labelled like ``labelled``.

    A pair is ordered by its labels; where they agree (all pairs to harmless prompts do on harm), nobody compares.
    """
    random = generator(seed, split, "cost_pairs")
    oracle = ToyOracle()
    kinds, weights = list(_LABELLED), list(_LABELLED.values())
    noise = label_noise if split == "train" else 0.0
    rows = []
    for _ in range(size):
        pair, row = draw_prompt(random, split, mixture)
        answers = []
        for kind in random.choices(kinds, weights, k=2):
            response = candidate(random, kind, pair, row.meta["name"])
            unsafe = _labels(random, oracle.judge(row, response), constraints, noise)
            answers.append(LabelledRow(row.prompt, response, unsafe, {**row.meta, "response_kind": kind}))
        rows.append(pair_by_label(*answers))
    return rows


def _labels(random: Random, verdict: Verdict, constraints: tuple[str, ...], noise: float) -> tuple[float, ...]:
    """The labels of a verdict, each flipped with probability ``noise``."""
    truth = {"harm": verdict.unsafe, "privacy": verdict.privacy}
    flips = {constraint: random.random() < noise for constraint in truth}
    return tuple(float(truth[constraint] != flips[constraint]) for constraint in constraints)


TEST_COUNTS: Mapping[Category, tuple[int, int]] = {
    "harmful": (320, 240), "keyword_alike": (240, 180), "benign": (130, 100),
}  # fmt: skip
"""Test prompts per category: in seen framings, in held-out framings."""


def prompts(seed: int, split: Split, size: int, mixture: Mapping[Category, float]) -> list[PromptRow]:
    """Return prompts to answer. The test split has exactly ``TEST_COUNTS`` per 1,210 of ``size``."""
    random = generator(seed, split, "prompts")
    if split != "test":
        return [draw_prompt(random, split, mixture)[1] for _ in range(size)]
    total = sum(sum(counts) for counts in TEST_COUNTS.values())
    rows = []
    for category, counts in TEST_COUNTS.items():
        for names, count in zip((framings.SEEN_FRAMINGS, framings.HELD_OUT_FRAMINGS), counts, strict=True):
            for i in range(max(1, round(size * count / total))):
                pair = draw_pair(random, split, category)
                rows.append(prompt_row(random, pair, names[i % len(names)]))
    random.shuffle(rows)
    return rows
