"""Several sources as one, in proportions. What is taken is a pure function of the seed and the sources' rows."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from csrlhf.data.intake import TooLong, check_too_long
from csrlhf.data.source import KINDS, DataSource, Kind, MissingRowsError, Split, check_split
from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow


class MixedData:
    """Rows of several sources, in an order in which they alternate at random.

    Without proportions a mix holds every row of every source. With them it is as large as it can be without taking a
    row twice: with shares 1 and 3, and 1,000 rows each, 333 of the one and 1,000 of the other. They hold in each split
    that several sources have.

    Args:
        sources: by name; null leaves one out.
        proportions: ``{name: share}`` for every kind of row, or ``{kind: {name: share}}`` for some kinds, a kind being
            ``prompts``, ``demonstrations``, ``preferences`` or ``labelled``. Shares are relative to each other. A
            source that is named for a kind has to have it; one that is not named takes no part.
        seed: which rows are taken, and their order. Not the run's seed, so that runs are compared on the same rows.
        too_long: what happens to rows that are too long, whatever source they are of; None: what the sources say, which
            have to agree.
        folder: that holds the sources' files, where their locations are written below it
            (``conf/data/safe_chat.yaml``); None: they stand by themselves.

    Raises:
        UserError: a name or a share is wrong, sources label different harms, or there is no such folder.

    Example:
        ``MixedData({"own": JsonlData("a.jsonl"), "public": BeaverTails("b.jsonl")}, {"own": 1, "public": 2})``.
    """

    name = "mix"
    oracle = None
    bad_rows_key = "data.sources.<name>.bad_rows (of every source)"

    def __init__(
        self,
        sources: Mapping[str, DataSource | None],
        proportions: Mapping[str, Any] | None = None,
        seed: int = 0,
        too_long: str | None = None,
        folder: str | None = None,
    ) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise UserError(f"data.folder={folder}: is no folder; name the one that holds the files of data.sources")
        self.sources = {name: source for name, source in sources.items() if source is not None}
        if not self.sources:
            raise UserError("data.sources is empty: name one source or more")
        self.constraints = _common_constraints(self.sources)
        self._by_kind = proportions is not None and set(proportions) <= set(KINDS)
        self._shares = {kind: self._shares_of(kind, proportions) for kind in KINDS}
        self._seed = seed
        self.too_long = check_too_long(too_long) or _common_too_long(self.sources)

    @property
    def bad_rows(self) -> str:
        """``skip`` where every source skips broken rows."""
        skipping = all(getattr(source, "bad_rows", "error") == "skip" for source in self.sources.values())
        return "skip" if skipping else "error"

    @property
    def left_out(self) -> dict[Split, Counter[str]]:
        """Rows that the sources left out, by split and reason."""
        total: dict[Split, Counter[str]] = {}
        for source in self.sources.values():
            for split, reasons in getattr(source, "left_out", {}).items():
                total.setdefault(split, Counter()).update(reasons)
        return total

    def has(self, split: Split) -> bool:
        """True if some source has this split."""
        return any(_has(source, split) for source in self.sources.values())

    def offers(self, kind: Kind, split: Split) -> bool:
        """Whether a split that some source has holds rows of this kind: it may be there for another stage."""
        try:
            return bool(self._mixed(kind, split))
        except MissingRowsError:
            return False

    def prompts(self, split: Split) -> list[PromptRow]:
        """Prompts of all sources, each once per source."""
        return self._mixed("prompts", split)

    def demonstrations(self, split: Split) -> list[DemonstrationRow]:
        """Responses to imitate."""
        return self._mixed("demonstrations", split)

    def preferences(self, split: Split) -> list[PreferenceRow]:
        """Pairs of responses."""
        return self._mixed("preferences", split)

    def labelled(self, split: Split) -> list[LabelledRow]:
        """Responses with harm labels."""
        return self._mixed("labelled", split)

    def hashes(self) -> dict[str, str]:
        """The sources' hashes, their names in front."""
        return {
            f"{name}.{key}": digest for name, source in self.sources.items() for key, digest in source.hashes().items()
        }

    def places(self, split: Split) -> dict[str, str]:
        """Where each prompt of the split stands, in the first source that has it."""
        found: dict[str, str] = {}
        for source in self.sources.values():
            places = getattr(source, "places", None)
            if places is not None and _has(source, split):
                found = places(split) | found
        return found

    def _mixed(self, kind: Kind, split: Split) -> list[Any]:
        if not self.has(check_split(split)):
            raise UserError(f"data.{split} is not set in any of data.sources.{', data.sources.'.join(self.sources)}")
        shares = self._shares[kind]
        rows: dict[str, list[Any]] = {}
        missing = []
        for name in shares or self.sources:
            if _has(self.sources[name], split):
                try:
                    rows[name] = getattr(self.sources[name], kind)(split)
                except MissingRowsError as error:
                    missing.append(f"data.sources.{name}: {error}")
        if missing and (not rows or (self._by_kind and shares)):  # asked for by name
            raise MissingRowsError("; ".join(missing))
        if not rows:
            raise MissingRowsError(f"none of data.sources.{', data.sources.'.join(shares or ())} has data.{split}")
        taken = _counts({name: len(found) for name, found in rows.items()}, shares)
        chosen = []
        for name, found in rows.items():
            order = self._generator(kind, split, name).permutation(len(found))[: taken[name]]
            chosen += [found[index] for index in order]
        return [chosen[index] for index in self._generator(kind, split, "").permutation(len(chosen))]

    def _generator(self, *words: str) -> np.random.Generator:
        digest = hashlib.sha256("/".join(words).encode()).digest()
        return np.random.default_rng([self._seed, int.from_bytes(digest[:8], "big")])

    def _shares_of(self, kind: Kind, proportions: Mapping[str, Any] | None) -> dict[str, float] | None:
        """The shares above 0 of a kind, by source; None where everything is taken."""
        key, shares = "data.proportions", proportions
        if proportions is not None and self._by_kind:
            key, shares = f"data.proportions.{kind}", proportions.get(kind)
        if shares is None:
            return None
        names = ", ".join(self.sources)
        if not isinstance(shares, Mapping) or not set(shares) <= set(self.sources):
            raise UserError(f"{key}={shares}: must give shares to some of the sources {names}, or to kinds of rows")
        numbers = [share for share in shares.values() if isinstance(share, int | float) and 0 <= share < math.inf]
        if len(numbers) < len(shares) or not sum(numbers):
            raise UserError(f"{key}={dict(shares)}: a share must be a number of at least 0, and one of them above 0")
        if not self._by_kind and set(shares) != set(self.sources):
            raise UserError(f"{key}={dict(shares)}: give every source a share (0 leaves it out): {names}")
        return {name: float(share) for name, share in shares.items() if share > 0}


def _common_constraints(sources: Mapping[str, DataSource]) -> tuple[str, ...]:
    """The columns of the labels, which those sources that have labels must agree on."""
    columns = {name: tuple(s.constraints) for name, s in sources.items() if "labelled" in getattr(s, "needs", KINDS)}
    first, *others = columns or {name: tuple(source.constraints) for name, source in sources.items()}
    for other in others:
        if columns and columns[other] != columns[first]:
            raise UserError(
                f"data.sources.{other}.constraints={list(columns[other])} and data.sources.{first}.constraints="
                f"{list(columns[first])} differ: a mix has one set of labels, give both the same names in one order"
            )
    return columns.get(first) or tuple(sources[first].constraints)


def _common_too_long(sources: Mapping[str, DataSource]) -> TooLong | None:
    """What the sources that say something of rows that are too long have in common."""
    said = {name: source.too_long for name, source in sources.items() if hasattr(source, "too_long")}  # type: ignore[attr-defined]  # looked up
    first = next(iter(said), None)
    for name, handling in said.items():
        if first is not None and handling != said[first]:
            raise UserError(
                f"data.sources.{name}.too_long={handling or 'null'} and data.sources.{first}.too_long="
                f"{said[first] or 'null'} differ: set data.too_long for the whole mix"
            )
    return None if first is None else said[first]


def _has(source: DataSource, split: Split) -> bool:
    has = getattr(source, "has", None)
    return has is None or has(split)


def _counts(available: Mapping[str, int], shares: Mapping[str, float] | None) -> dict[str, int]:
    """Rows to take of each source: the largest counts in the shares' proportion, at least one."""
    if shares is None:
        return dict(available)
    size = min(count / shares[name] for name, count in available.items())
    return {name: max(1, min(count, round(size * shares[name]))) for name, count in available.items()}
