"""A judge of refusals from its folder: the trained classifier, its threshold, and what it was trained on.

``refusals.json`` says what it is; ``judge.safetensors`` holds its numbers. The weights whose states it reads are not
copied: the folder names them with their hash.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from csrlhf import __version__
from csrlhf.errors import UserError
from csrlhf.refusals.head import Head
from csrlhf.refusals.reading import Source
from csrlhf.refusals.signs import signs
from csrlhf.refusals.states import BACKBONE, Backbone, asked
from csrlhf.refusals.training import LeftOut, Rates, Trained, own_phrases, read_rows, train
from csrlhf.refusals.words import WordJudge, beginning
from csrlhf.runs.artifacts import write_json, write_whole
from csrlhf.types import Prompt

DESCRIPTION, NUMBERS = "refusals.json", "judge.safetensors"
FORMAT = 1
"""Of the signs and of the two files; a judge of another one is trained again."""

RATES = ("shipped", "unseen_threshold", "words")

COMMON = frozenset(
    re.findall(
        r"\w+", "the a an and or of to in is are it this that i you not be for with as on can have do your my at"
    )
)
ENGLISH = 0.1
"""Share of the first words that are common English ones, below which an answer is left to its words."""


class RefusalJudge:
    """Whether an answer refuses, by a classifier that was trained on answers that people read.

    Reads English. Answers in other languages are left to the words (:mod:`csrlhf.refusals.words`). An empty answer
    refuses nothing.

    Example: ``RefusalJudge.load("artifacts/refusals").refused(["How do I steal a car?"], ["That is a crime."])``.
    """

    def __init__(self, head: Head, backbone: Backbone, about: Mapping[str, Any], name: str = "a judge") -> None:
        """Put it together.

        Args:
            head: the classifier.
            backbone: whose states it reads.
            about: the description: ``threshold``, ``slope``, ``offset``, and what it was trained on.
            name: where it comes from.
        """
        self.head, self.backbone, self.about, self.name = head, backbone, dict(about), name
        self.threshold: float = about["threshold"]
        self._words = WordJudge()

    def check(self) -> None:
        """Look for its backbone before anything is generated.

        Raises:
            UserError: it is not here, or is another one.
        """
        self.backbone.identity()

    def refused(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[bool]:
        """Whether each answer refuses.

        Args:
            prompts: B prompts.
            responses: B answers.
        """
        return [bool(verdict) for verdict in self._judge(prompts, responses)[0]]

    def probability(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> NDArray[np.float64]:
        """P(refusal) of each answer, ``[B]``, where refusals and answers are equally common; 0 or 1 where words decide.

        The threshold need not lie at one half: it is where the worst of the models fared best.
        """
        return self._judge(prompts, responses)[1]

    def _judge(
        self, prompts: Sequence[Prompt], responses: Sequence[str]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        by_words = np.array(self._words.refused(prompts, responses), dtype=bool)
        verdicts, chances = by_words.copy(), by_words.astype(np.float64)
        rows = [row for row, response in enumerate(responses) if is_english(response)]
        if rows:
            logits = self.logits([prompts[row] for row in rows], [responses[row] for row in rows])
            verdicts[rows] = logits > self.threshold
            chances[rows] = 1 / (1 + np.exp(-(self.about["slope"] * logits + self.about["offset"])))
        return verdicts, chances

    def logits(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> NDArray[np.float64]:
        """The classifier's logits, ``[B]``, whatever the language."""
        signs_BS = np.stack([signs(asked(prompt), said) for prompt, said in zip(prompts, responses, strict=True)])
        return self.head.logits(signs_BS, self.backbone.states(prompts, responses))

    def save(self, folder: Path) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / NUMBERS, save(self.head.tensors()))
        write_json(folder / DESCRIPTION, self.about)

    @classmethod
    def load(cls, folder: str | Path, key: str = "refusals") -> RefusalJudge:
        """Read a folder; the backbone is loaded when it is first asked.

        Args:
            folder: what ``python -m csrlhf.refusals`` wrote.
            key: where it is named, for messages.

        Raises:
            UserError: there is no such folder, or it holds no judge, or one of another version.
        """
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise UserError(f"{key}={folder}: there is no such folder; write words, or train a judge: {HOW_TO_TRAIN}")
        if not (path / DESCRIPTION).is_file() or not (path / NUMBERS).is_file():
            raise UserError(f"{key}={folder}: holds no judge of refusals ({DESCRIPTION}, {NUMBERS}); {HOW_TO_TRAIN}")
        again = f"train it again: {HOW_TO_TRAIN}"
        try:
            about = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
            if about["format"] != FORMAT:
                raise UserError(f"{key}={folder}: is a judge of format {about['format']}, not {FORMAT}; {again}")
            backbone = Backbone(str(about["backbone"]), str(about["backbone_sha256"]))
            for number in ("threshold", "slope", "offset"):
                about[number] = float(about[number])
            head = Head.of(load_file(path / NUMBERS))
        except UserError:
            raise
        except (ValueError, KeyError, TypeError, SafetensorError) as error:
            raise UserError(f"{key}={folder}: is broken ({error}); {again}") from error
        if head.sign_mean_S.size != signs("", "").size:
            raise UserError(f"{key}={folder}: reads {head.sign_mean_S.size} signs, not {signs('', '').size}; {again}")
        return cls(head, backbone, about, str(folder))


HOW_TO_TRAIN = "python -m csrlhf.refusals --data completions_*.csv --out FOLDER"


def train_judge(models: Sequence[Source], dialogues: Source | None = None, backbone: str = BACKBONE) -> RefusalJudge:
    """Train a judge on read answers, our own phrases, and dialogues where there are any.

    Args:
        models: the answers of at least three models.
        dialogues: answers that comply with harmful requests.
        backbone: whose states are read.
    """
    encoder = Backbone(backbone)
    extra = [own_phrases(), *([] if dialogues is None else [dialogues])]
    trained = train(read_rows(models, extra, encoder))
    return RefusalJudge(trained.head, encoder, _about(trained, [*models, *extra], encoder))


def table_of(about: Mapping[str, Any]) -> list[LeftOut]:
    """The lines of the models that were left out, from a judge's description."""
    return [
        LeftOut(**{**line, **{name: Rates(**{k: _number(v) for k, v in line[name].items()}) for name in RATES}})
        for line in about["left_out"]
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value  # JSON has no NaN


def _about(trained: Trained, sources: Sequence[Source], backbone: Backbone) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "csrlhf": __version__,
        "backbone": backbone.spec,
        "backbone_sha256": backbone.identity(),
        "threshold": trained.threshold,
        "slope": trained.slope,
        "offset": trained.offset,
        "trained_on": {
            source.name: {
                "sha256": source.sha256, "refusals": source.count(1), "answers": source.count(0),
                "partial": source.count(-1),
            }
            for source in sources
        },
        "left_out": [
            asdict(line) | {name: getattr(line, name)._asdict() for name in RATES} for line in trained.table
        ],
    }  # fmt: skip


def is_english(response: str) -> bool:
    """Whether enough of the first words are common English ones; a word or two alone are, too, if they are ASCII."""
    words = beginning(response).lower().split()[:40]
    if not words:
        return False
    common = sum(word.strip(".,!?:;\"'()") in COMMON for word in words) / len(words)
    return common >= ENGLISH or (len(words) < 6 and all(word.isascii() for word in words))
