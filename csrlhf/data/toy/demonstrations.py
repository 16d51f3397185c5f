"""The SFT corpus, a pure function of (seed, split): mixed behaviour, and talk about harm.

Questions and remarks stand in for what pretraining teaches a real model: what a word means, and what is harmful.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from csrlhf.data.source import Split
from csrlhf.data.toy import framings, responses
from csrlhf.data.toy.candidates import candidate, remark
from csrlhf.data.toy.draws import draw_category, draw_pair, draw_prompt, framings_of, generator, prompt_row
from csrlhf.data.toy.vocabulary import NAMES
from csrlhf.data.toy.world import Category
from csrlhf.types import DemonstrationRow

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
