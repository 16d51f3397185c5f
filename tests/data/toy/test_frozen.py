"""The world and its oracle are frozen: policies are tuned on them, never the reverse.

If this fails, what was measured before cannot be compared with what is measured after. A deliberate change of the
world raises ``VERSION`` in source.py and sets the new digest here, and every reported figure is made again.
"""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from csrlhf.data.source import SPLITS
from csrlhf.data.toy.oracle import annotator_reward
from csrlhf.data.toy.source import ToyData
from csrlhf.data.toy.tokenizer import words
from csrlhf.data.toy.world import PAIRS

FROZEN = "6de3875a9666c3b5aaa33072c518b779a229687c27bb038f908dee37deca1a5a"


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what the world says of a row: it knows no margins and no places, fields for them change nothing in it."""
    return {name: value for name, value in fields.items() if (name, value) not in (("margin", 0.0), ("place", ""))}


def content() -> str:
    """Return the world as text: vocabulary, pairs, splits, rows of seed 0, verdicts on them."""
    sizes = {kind: dict.fromkeys(SPLITS, 300) for kind in ("demonstrations", "preferences", "labelled", "prompts")}
    data = ToyData(seed=0, constraints=("harm", "privacy"), sizes=sizes)
    parts: list[object] = [words(), [(asdict(p.verb), asdict(p.object), p.category, p.split) for p in PAIRS]]
    for split in SPLITS:
        prompts, labelled = data.prompts(split), data.labelled(split)
        for rows in (data.demonstrations(split), data.preferences(split), labelled, prompts):
            parts.extend(given(asdict(row)) for row in rows)
        for prompt, other in zip(prompts, labelled, strict=False):
            verdict = data.oracle.judge(prompt, other.response)
            parts.append([asdict(verdict), round(annotator_reward(prompt, other.response), 6)])
    return json.dumps(parts, sort_keys=True)


def test_the_world_and_its_oracle_are_frozen():
    assert hashlib.sha256(content().encode()).hexdigest() == FROZEN
