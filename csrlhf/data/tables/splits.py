"""Splits where a user named files, shares of one file's prompts, or both."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import groups, normalise
from csrlhf.data.source import SPLITS, Split
from csrlhf.data.tables.readers import check_location, content_hash, read_records
from csrlhf.data.tables.record import Line, Record
from csrlhf.errors import UserError
from csrlhf.types import Prompt

# Splits where there is one table: shares of its prompts; near-duplicates and turns of one conversation on one side.
#
# A pure function of the prompts and the seed. Groups are taken in the order of a hash of their first text, so another
# table with the same prompts (preferences beside labels, say) is split almost alike.

Shares = dict[Split, float]

Location = str | Sequence[str]
"""A file, folder or name on the Hub, or several, whose rows follow each other."""


def check_shares(shares: Mapping[Split, float], has_train: bool) -> None:
    """Refuses shares that are none, or shares of nothing.

    Raises:
        UserError: names the key.
    """
    for split, share in shares.items():
        if split == "train":
            raise UserError(f"data.train={share:g}: name a file; data.validation and data.test can be shares of it")
        if not 0 < share < 1:
            raise UserError(f"data.{split}={share:g}: a share of data.train must lie between 0 and 1")
        if not has_train:
            raise UserError(f"data.{split}={share:g} is a share of data.train, which is not set: name a file there")
    if sum(shares.values()) >= 1:
        raise UserError(
            f"data.validation and data.test take {sum(shares.values()):g} of data.train: leave some to train"
        )


def split_by_prompt(prompts: Sequence[Prompt], shares: Mapping[Split, float], seed: int) -> dict[Split, list[int]]:
    """Which rows go where.

    Args:
        prompts: one per row. Equal and nearly equal ones stay together, and so do conversations that begin alike: sets
            of conversations often have one several times, each time some turns longer.
        shares: of the rows, for ``validation`` and ``test``; ``train`` gets the rest.
        seed: another seed, another choice.

    Returns:
        Row numbers by split, in the table's order. Shares are met up to the size of a group.

    Raises:
        UserError: the groups are too few or too large for a share.
    """
    members: dict[int, list[int]] = {}
    texts = [prompt_text(prompt) for prompt in prompts]
    openings = [prompt_text(_opening(prompt)) for prompt in prompts]
    grouped = groups([*texts, *openings], joined=[(row, row + len(texts)) for row in range(len(texts))])
    for row, group in enumerate(grouped[: len(texts)]):
        members.setdefault(group, []).append(row)
    key = {group: min(normalise(texts[row]) for row in rows) for group, rows in members.items()}
    order = sorted(members, key=lambda group: hashlib.sha256(f"{seed}\n{key[group]}".encode()).digest())
    rest = dict.fromkeys(order)
    parts: dict[Split, list[int]] = {}
    for split, share in shares.items():
        target, taken = share * len(prompts), []
        for group in list(rest):
            # Rounded to whole groups: a group that would overshoot by more than half of itself is passed over.
            if len(taken) + len(members[group]) / 2 <= target:
                taken += members[group]
                del rest[group]
        if not taken or not rest:
            raise UserError(
                f"data.{split}={share:g}: data.train has {len(prompts)} rows in {len(members)} groups of near-duplicate"
                " prompts, which cannot be divided so: take another share, or name a file"
            )
        parts[split] = sorted(taken)
    return {"train": sorted(row for group in rest for row in members[group]), **parts}


def _opening(prompt: Prompt) -> Prompt:
    """A conversation up to its first turn of the user's."""
    if isinstance(prompt, str):
        return prompt
    first = next(number for number, turn in enumerate(prompt, start=1) if turn["role"] == "user")
    return prompt[:first]


# Where the rows of each split come from: a location of its own, or a share of the training table's prompts.


class GivenSplits:
    """The splits that a user named.

    Args:
        train: a location, or a list of them; None where no stage trains.
        validation: likewise, or a share of ``train``'s prompts, in (0, 1).
        test: likewise.
        split_seed: decides which prompts a share holds out.
        hub_options: of ``datasets.load_dataset``, for locations on the Hub.

    Attributes:
        locations: by split, of those that have one.
        shares: of the others.

    Raises:
        UserError: nothing is named, a location is missing, or shares do not fit.
    """

    def __init__(
        self,
        train: Location | None,
        validation: Location | float | None,
        test: Location | float | None,
        split_seed: int,
        hub_options: Mapping[str, Any] | None = None,
    ) -> None:
        given: dict[Split, Location | float | None] = {"train": train, "validation": validation, "test": test}
        self.shares: Shares = {split: float(value) for split, value in given.items() if isinstance(value, int | float)}
        self.locations: dict[Split, tuple[str, ...]] = {
            split: _checked(split, value)
            for split, value in given.items()
            if value is not None and not isinstance(value, int | float)
        }
        check_shares(self.shares, has_train="train" in self.locations)
        if not self.locations:
            raise UserError(
                "data has no file: set data.train=FILE and data.validation=FILE or a share, or data.test=FILE where a "
                "stage only evaluates"
            )
        self.split_seed, self._hub_options = split_seed, hub_options or {}

    def __contains__(self, split: Split) -> bool:
        return split in self.locations or split in self.shares

    def origin(self, split: Split) -> str:
        """Where the rows of a split come from, for messages."""
        if split in self.locations:
            return ", ".join(self.locations[split])
        return f"data.{split}={self.shares[split]} of {self.origin('train')}"

    def read(self, split: Split) -> list[Record]:
        """All rows of a split's locations."""
        return [row for location in self.locations[split] for row in read_records(location, self._hub_options)]

    def hashes(self) -> dict[str, str]:
        """sha256 of what each split's location holds, by split; of several, of their hashes."""
        found: dict[str, str] = {}
        for split, locations in self.locations.items():
            digests = [content_hash(location, self._hub_options) for location in locations]
            found[split] = digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()
        return found

    def share_out(self, tables: Mapping[Split, list[Line]]) -> dict[Split, list[Line]]:
        """The lines of every split, in the order of the splits.

        Args:
            tables: the lines of each location.
        """
        lines = dict(tables)
        if self.shares:
            train = tables["train"]
            parts = split_by_prompt([line.prompt for line in train], self.shares, self.split_seed)
            lines |= {name: [train[row] for row in rows] for name, rows in parts.items()}
        return {name: lines[name] for name in SPLITS if name in lines}


def _checked(split: Split, value: Location) -> tuple[str, ...]:
    """The locations of a split, each of which is there."""
    listed = [value] if isinstance(value, str) else list(value)
    if not listed or not all(isinstance(location, str) for location in listed) or len(set(listed)) < len(listed):
        raise UserError(f"data.{split}={listed}: must be a file, or a list of different files")
    return tuple(check_location(f"data.{split}", location) for location in listed)
