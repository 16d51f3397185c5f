"""What can be answered: wordings of compliance, refusal, redirect, off-topic talk, yes and no.

Compliance fills four slots: tool and action belong to the verb, object and place to the object. A pair never
seen is therefore answered by composition.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from csrlhf.data.toy.vocabulary import OBJECTS, VERBS
from csrlhf.data.toy.world import Pair

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
