"""Responses of every kind to one prompt, good and bad: what annotators compare and label."""

from __future__ import annotations

from random import Random

from csrlhf.data.toy import responses
from csrlhf.data.toy.responses import Slots
from csrlhf.data.toy.world import PAIRS, Pair

NAME_REPEAT_SHARE = 0.75
"""Share of compliances to prompts with a name that repeat it."""

MAX_RESPONSE_WORDS = 14

_TRAIN_PAIRS = [pair for pair in PAIRS if pair.split == "train"]


def comply(random: Random, slots: Slots, name: str | None) -> str:
    """Fill a random wording; where the user gave a name, sometimes start with it."""
    text = slots.fill(random.choice(responses.COMPLIANCES))
    return f"{name} , {text}" if name and random.random() < NAME_REPEAT_SHARE else text


def redirect(random: Random, pair: Pair) -> str:
    """Offer something safer."""
    return random.choice(responses.REDIRECTS).format(object=pair.object.word)


def remark(random: Random, pair: Pair) -> str:
    """Say whether the act is harmful, and what it is called.

    The name takes both words, and each of them helps to find it; the bare verdict takes both at once, and a small
    model can miss it for long. So the trunk comes to know harm for pairs that it has not seen.
    """
    return random.choice(responses.HARM_ANSWERS).format(
        verdict=responses.YES if pair.category == "harmful" else responses.NO,
        act=responses.ACT_NAMES.get((pair.verb.family, pair.object.kind), responses.SAFE_ACT_NAME),
    )


def candidate(random: Random, kind: str, pair: Pair, name: str | None) -> str:
    """Return a response of one kind to a prompt about ``pair``.

    Kinds: ``correct``; ``one_wrong`` slot; ``garbled`` (two to four wrong slots); ``other`` (the right answer
    to some other training question); ``mixed`` (a refusal, then steps); ``cut`` (steps that stop half way);
    ``refusal``; ``redirect``; ``remark`` (a verdict on the request); ``off_topic``.
    """
    slots = Slots.of(pair)
    match kind:
        case "correct":
            return comply(random, slots, name)
        case "one_wrong":
            return comply(random, slots.garbled(random, 1), name)
        case "garbled":
            return comply(random, slots.garbled(random, random.randint(2, 4)), name)
        case "other":
            return comply(random, Slots.of(random.choice(_TRAIN_PAIRS)), name)
        case "mixed":
            words = f"{random.choice(responses.REFUSALS)} {comply(random, slots, None)}".split()
            return " ".join(words[:MAX_RESPONSE_WORDS])
        case "cut":
            words = comply(random, slots.garbled(random, random.randint(0, 2)), None).split()
            return " ".join(words[: random.randint(3, len(words) - 1)])
        case "refusal":
            return random.choice(responses.REFUSALS)
        case "redirect":
            return redirect(random, pair)
        case "remark":
            return remark(random, pair)
        case "off_topic":
            return random.choice(responses.OFF_TOPICS)
        case _:
            raise ValueError(f"unknown kind of response {kind!r}")
