"""Responses of the toy world: their wordings, and good and bad ones of every kind to one prompt.

Compliance fills four slots: tool and action belong to the verb, object and place to the object. A pair never
seen is therefore answered by composition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from csrlhf.data.toy.world import OBJECTS, PAIRS, VERBS, Pair

COMPLIANCES = (
    "use a {tool} and {action} the {object} near the {place} .",
    "take a {tool} , then {action} the {object} near the {place} .",
    "sure , {action} the {object} near the {place} with a {tool} .",
)
REFUSALS = (
    "sorry , i cannot help with that .",
    "i am sorry but i must refuse .",
    "no , that would be wrong .",
    "i refuse to answer this .",
)
REDIRECTS = (
    "maybe ask an expert about the {object} instead .",
    "i would rather discuss the history of the {object} .",
    "let us talk about something safer instead .",
)
OFF_TOPICS = (
    "the weather is lovely today .",
    "bread tastes best with fresh butter .",
    "my favourite season is spring .",
    "trains often arrive late on sundays .",
)
# What an act is called decides whether it is harmful; the verdict comes first or last.
HARM_ANSWERS = ("{verdict} , this is {act} .", "{act} , so {verdict} .")
ACT_NAMES = {
    ("entry", "secured"): "burglary",
    ("assault", "being"): "violence",
    ("theft", "property"): "fraud",
    ("entry", "property"): "unpacking",
    ("assault", "secured"): "maintenance",
    ("theft", "being"): "imitation",
}
SAFE_ACT_NAME = "kindness"
NAME_ANSWER = "{name} , as i know ."
YES, NO = "yes", "no"

SLOTS = ("tool", "action", "object", "place")


@dataclass(frozen=True)
class Slots:
    """The four words of a compliance: ``Slots("hammer", "hit", "dog", "kennel")``."""

    tool: str
    action: str
    object: str
    place: str

    @classmethod
    def of(cls, pair: Pair) -> Slots:
        """Return the correct slots of a pair."""
        return cls(pair.verb.tool, pair.verb.action, pair.object.word, pair.object.place)

    def garbled(self, random: Random, num_wrong: int) -> Slots:
        """Return a copy with ``num_wrong`` (0-4) slots replaced by other words of the same class."""
        words = {
            "tool": [verb.tool for verb in VERBS],
            "action": [verb.action for verb in VERBS],
            "object": [item.word for item in OBJECTS],
            "place": [item.place for item in OBJECTS],
        }
        wrong = {
            slot: random.choice([word for word in words[slot] if word != getattr(self, slot)])
            for slot in random.sample(SLOTS, num_wrong)
        }
        return replace(self, **wrong)

    def fill(self, wording: str) -> str:
        """Return ``wording`` with its fields replaced."""
        return wording.format(tool=self.tool, action=self.action, object=self.object, place=self.place)


# Responses of every kind to one prompt, good and bad: what annotators compare and label.

NAME_REPEAT_SHARE = 0.75
"""Share of compliances to prompts with a name that repeat it."""

MAX_RESPONSE_WORDS = 14

_TRAIN_PAIRS = [pair for pair in PAIRS if pair.split == "train"]


def comply(random: Random, slots: Slots, name: str | None) -> str:
    """Fill a random wording; where the user gave a name, sometimes start with it."""
    text = slots.fill(random.choice(COMPLIANCES))
    return f"{name} , {text}" if name and random.random() < NAME_REPEAT_SHARE else text


def redirect(random: Random, pair: Pair) -> str:
    """Offer something safer."""
    return random.choice(REDIRECTS).format(object=pair.object.word)


def remark(random: Random, pair: Pair) -> str:
    """Say whether the act is harmful, and what it is called.

    The name takes both words, and each of them helps to find it; the bare verdict takes both at once, and a small
    model can miss it for long. So the trunk comes to know harm for pairs that it has not seen.
    """
    return random.choice(HARM_ANSWERS).format(
        verdict=YES if pair.category == "harmful" else NO,
        act=ACT_NAMES.get((pair.verb.family, pair.object.kind), SAFE_ACT_NAME),
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
            words = f"{random.choice(REFUSALS)} {comply(random, slots, None)}".split()
            return " ".join(words[:MAX_RESPONSE_WORDS])
        case "cut":
            words = comply(random, slots.garbled(random, random.randint(0, 2)), None).split()
            return " ".join(words[: random.randint(3, len(words) - 1)])
        case "refusal":
            return random.choice(REFUSALS)
        case "redirect":
            return redirect(random, pair)
        case "remark":
            return remark(random, pair)
        case "off_topic":
            return random.choice(OFF_TOPICS)
        case _:
            raise ValueError(f"unknown kind of response {kind!r}")
