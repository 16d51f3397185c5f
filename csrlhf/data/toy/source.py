"""The toy world as a data source: sizes, shares and noise are its parameters, the rest is fixed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import normalise
from csrlhf.data.source import SPLITS, Split, check_split
from csrlhf.data.toy import corpora
from csrlhf.data.toy.corpora import demonstrations
from csrlhf.data.toy.oracle import ToyOracle
from csrlhf.data.toy.prompts import MIXTURE, certification_prompts
from csrlhf.data.toy.tokenizer import build_tokenizer
from csrlhf.data.toy.world import CATEGORIES, Category
from csrlhf.errors import UserError
from csrlhf.types import CostPairRow, DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VERSION = 3
"""Raised whenever the world or its corpora change: part of the hashes."""

KNOWN_CONSTRAINTS = ("harm", "privacy")
SIZES: Mapping[str, Mapping[str, Mapping[Split, int]]] = {
    "full": {
        "demonstrations": {"train": 48_000, "validation": 512, "test": 512},
        "preferences": {"train": 28_800, "validation": 512, "test": 512},
        "labelled": {"train": 16_000, "validation": 512, "test": 1_024},
        "prompts": {"train": 8_000, "validation": 2_560, "test": 1_210},
    },
    "smoke": {
        "demonstrations": {"train": 6_400, "validation": 128, "test": 128},
        "preferences": {"train": 2_560, "validation": 128, "test": 128},
        "labelled": {"train": 2_560, "validation": 128, "test": 128},
        "prompts": {"train": 512, "validation": 256, "test": 256},
    },
    "batch": {
        "demonstrations": {"train": 64, "validation": 64, "test": 64},
        "preferences": {"train": 64, "validation": 64, "test": 64},
        "labelled": {"train": 128, "validation": 128, "test": 128},
        "prompts": {"train": 128, "validation": 256, "test": 256},
    },
}
"""Rows per kind and split, by name: for results, for a look at the whole pipeline, and for one batch of everything."""

AS_SIZE_SAYS: Mapping[str, Mapping[Split, int | None]] = {kind: dict.fromkeys(SPLITS) for kind in SIZES["full"]}
"""No other numbers of rows than those of ``size``."""


class ToyData:
    """Generated dialogues with a ground truth; rows are a pure function of the constructor's arguments.

    Args:
        seed: draws the rows; the world (words, pairs, splits) never changes.
        label_noise: probability (0 to under 0.5) that a training label is flipped.
        constraints: columns of the labels, of ``harm`` and ``privacy``.
        mixture: shares of ``harmful``, ``keyword_alike`` and ``benign`` prompts.
        sizes: rows per kind and split, e.g. ``{"labelled": {"train": 2000}}``; null and what is not named are as
            ``size`` says.
        size: ``full``, ``smoke`` or ``batch`` (``SIZES``).

    Raises:
        UserError: a value is out of its range or unknown.
    """

    name = "toy"

    def __init__(
        self,
        seed: int = 0,
        label_noise: float = 0.02,
        constraints: tuple[str, ...] | list[str] = ("harm",),
        mixture: Mapping[Any, float] | None = MIXTURE,
        sizes: Mapping[str, Mapping[Any, int | None]] | None = AS_SIZE_SAYS,
        size: str = "full",
    ) -> None:
        if not 0 <= label_noise < 0.5:
            raise UserError(f"data.label_noise is {label_noise}; give a probability in [0, 0.5)")
        self.seed = int(seed)
        self.label_noise = float(label_noise)
        self.constraints = _checked_constraints(constraints)
        self.mixture = _checked_mixture(mixture)
        self.sizes = _checked_sizes(size, sizes)
        self._oracle = ToyOracle()

    @property
    def oracle(self) -> ToyOracle:
        """The judge of this world."""
        return self._oracle

    def demonstrations(self, split: Split) -> list[DemonstrationRow]:
        """Return the SFT corpus (demonstrations.py)."""
        size = self.sizes["demonstrations"][check_split(split)]
        return demonstrations(self.seed, split, size, self.mixture)

    def preferences(self, split: Split) -> list[PreferenceRow]:
        """Return the reward model's corpus (corpora.preferences)."""
        return corpora.preferences(self.seed, split, self.sizes["preferences"][check_split(split)], self.mixture)

    def labelled(self, split: Split) -> list[LabelledRow]:
        """Return the cost model's corpus (corpora.labelled)."""
        size = self.sizes["labelled"][check_split(split)]
        return corpora.labelled(self.seed, split, size, self.mixture, self.constraints, self.label_noise)

    def cost_pairs(self, split: Split) -> list[CostPairRow]:
        """Return pairs for ``cost.loss=pairwise`` (corpora.cost_pairs): as many dialogues as labelled rows."""
        size = max(1, self.sizes["labelled"][check_split(split)] // 2)
        return corpora.cost_pairs(self.seed, split, size, self.mixture, self.constraints, self.label_noise)

    def prompts(self, split: Split) -> list[PromptRow]:
        """Return prompts to answer (corpora.prompts)."""
        return corpora.prompts(self.seed, split, self.sizes["prompts"][check_split(split)], self.mixture)

    def certification_prompts(self, size: int, excluded: Collection[str] = ()) -> list[PromptRow]:
        """Return ``size`` prompts that no split holds, nor ``excluded`` (toy/certification.py)."""
        held_out = {normalise(prompt_text(row.prompt)) for row in self.prompts("test")}
        return certification_prompts(self.seed, size, self.mixture, held_out | set(excluded))

    def build_tokenizer(self) -> PreTrainedTokenizerFast:
        """Return the world's own tokenizer (toy/tokenizer.py)."""
        return build_tokenizer()

    def hashes(self) -> dict[str, str]:
        """Return one digest of the generator's parameters and version."""
        parameters: dict[str, Any] = {
            "version": VERSION,
            "seed": self.seed,
            "label_noise": self.label_noise,
            "constraints": self.constraints,
            "mixture": self.mixture,
            "sizes": self.sizes,
        }
        text = json.dumps(parameters, sort_keys=True)
        return {"toy": hashlib.sha256(text.encode()).hexdigest()}


def _checked_constraints(constraints: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    names = tuple(constraints)
    if not names or len(set(names)) < len(names) or not set(names) <= set(KNOWN_CONSTRAINTS):
        raise UserError(f"data.constraints is {list(names)}; name each of {list(KNOWN_CONSTRAINTS)} at most once")
    return names


def _checked_mixture(mixture: Mapping[str, float] | None) -> dict[Category, float]:
    if mixture is None:
        return dict(MIXTURE)
    shares: dict[Category, float] = {category: float(mixture.get(category, -1)) for category in CATEGORIES}
    if set(mixture) != set(CATEGORIES) or min(shares.values()) < 0 or sum(shares.values()) <= 0:
        raise UserError(f"data.mixture is {dict(mixture)}; give a share >= 0 to each of {', '.join(CATEGORIES)}")
    return shares


def _checked_sizes(size: str, sizes: Mapping[str, Mapping[str, int | None]] | None) -> dict[str, dict[str, int]]:
    if size not in SIZES:
        raise UserError(f"data.size={size}: must be one of {', '.join(SIZES)}")
    merged = {kind: {split: counts[split] for split in SPLITS} for kind, counts in SIZES[size].items()}
    for kind, counts in (sizes or {}).items():
        for split, count in counts.items():
            whole = count is None or (isinstance(count, int) and count >= 1)
            if kind not in merged or split not in SPLITS or not whole:
                raise UserError(
                    f"data.sizes.{kind}.{split} is {count}; kinds are {', '.join(merged)}, splits are "
                    f"{', '.join(SPLITS)}, and a size is a whole number >= 1"
                )
            if count is not None:
                merged[kind][split] = count
    return merged
