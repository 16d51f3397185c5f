"""Batches that hold their share of each kind of prompts, as a pure function of (seed, iteration).

A constraint on some prompts (``constraints.<name>.where``) is measured on those of the batch. Drawn freely, a batch
might hold few or none of them; here each kind (stratum) has its own endless shuffled passes, and takes the same share
of every batch to within a prompt or two.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from csrlhf.constraints.where import Selector, check_selected, select
from csrlhf.errors import InputWarning, UserError
from csrlhf.ops.noise import permutation
from csrlhf.types import PromptRow

ROUNDING = 1e-6
"""A share of three prompts is not to become two by floating point."""

FEW = 4
"""Prompts of a kind per batch below which a statistic of them says little."""


@dataclass(frozen=True)
class Strata:
    """Which rows are alike to all constraints, and how much of a batch each kind takes.

    Example: ``Strata(((0, 2), (1, 3, 4)), (0.4, 0.6), per_batch=10, seed=0)``.

    Attributes:
        rows: of each kind, row numbers.
        shares: of each kind, of a batch; they add up to 1.
        per_batch: prompts of a batch.
        seed: of the order within each kind.
        least: fewest of each kind in a batch.
    """

    rows: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]
    per_batch: int
    seed: int
    least: int = 0
    _drawn: list[tuple[int, ...]] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls, kinds: Mapping[str, Selector], prompts: Sequence[PromptRow], per_batch: int, least: int, seed: int
    ) -> Strata:
        """Prompts are of one kind where all constraints choose them alike.

        Args:
            kinds: by constraint, which prompts it is about.
            prompts: to train on.
            per_batch: prompts of a batch.
            least: fewest of each kind in a batch (``ppo.min_stratum``).
            seed: of the order.

        Raises:
            UserError: a constraint selects no prompt, or the least numbers do not fit into a batch.
        """
        for name, where in kinds.items():
            expected = check_selected(name, where, prompts) * per_batch
            if max(expected, least) < FEW:
                warnings.warn(
                    f"constraints.{name}.where: a batch of {per_batch} prompts has {expected:.2g} of them, and J is "
                    f"measured on these; raise ppo.batch_size, or set ppo.min_stratum={2 * FEW} or "
                    f"constraints.{name}.window",
                    InputWarning,
                    stacklevel=2,
                )
        chosen = [select(name, where, prompts) for name, where in kinds.items()]
        alike: dict[tuple[bool, ...], list[int]] = {}
        for row, signature in enumerate(zip(*chosen, strict=True)):
            alike.setdefault(signature, []).append(row)
        groups = [alike[signature] for signature in sorted(alike)]
        if least * len(groups) > per_batch:
            raise UserError(
                f"ppo.min_stratum={least}: {len(groups)} kinds of prompts need {least * len(groups)} in a batch, which "
                f"holds {per_batch} (ppo.batch_size / ppo.samples_per_prompt); lower it, or raise ppo.batch_size"
            )
        shares = _shares([len(rows) for rows in groups], per_batch, least)
        return cls(tuple(map(tuple, groups)), shares, per_batch, seed, least)

    def batch(self, iteration: int) -> list[int]:
        """Row numbers of an iteration's batch, kinds mixed."""
        drawn = []
        before, after = self._before(iteration), self._before(iteration + 1)
        for kind, rows in enumerate(self.rows):
            orders: dict[int, list[int]] = {}
            for place in range(before[kind], after[kind]):
                passes, offset = divmod(place, len(rows))
                if passes not in orders:
                    orders[passes] = permutation(self.seed + 1 + kind, passes, len(rows)).tolist()
                drawn.append(rows[orders[passes][offset]])
        return [drawn[place] for place in permutation(self.seed, iteration, len(drawn)).tolist()]

    def _before(self, iteration: int) -> tuple[int, ...]:
        """Draws of each kind in all earlier batches: what a batch is short of a share goes on to the next."""
        if not self._drawn:
            self._drawn.append((0,) * len(self.rows))
        while len(self._drawn) <= iteration:
            time, drawn = len(self._drawn) * self.per_batch, self._drawn[-1]
            wanted = [share * time - count for share, count in zip(self.shares, drawn, strict=True)]
            taken = [max(self.least, math.floor(one + ROUNDING)) for one in wanted]
            by_need = sorted(range(len(taken)), key=lambda kind: (taken[kind] - wanted[kind], kind))
            for kind in by_need[: max(0, self.per_batch - sum(taken))]:
                taken[kind] += 1
            while sum(taken) > self.per_batch:  # from the kind that has most, which misses it least
                taken[max(range(len(taken)), key=lambda kind: taken[kind])] -= 1
            self._drawn.append(tuple(a + b for a, b in zip(drawn, taken, strict=True)))
        return self._drawn[iteration]


def _shares(sizes: Sequence[int], per_batch: int, least: int) -> tuple[float, ...]:
    """Shares of a batch in proportion to the sizes, those of small kinds raised to ``least`` prompts."""
    raised: set[int] = set()
    while True:
        room = per_batch - least * len(raised)
        total = sum(size for kind, size in enumerate(sizes) if kind not in raised) or 1
        counts = [least if kind in raised else room * size / total for kind, size in enumerate(sizes)]
        low = {kind for kind, count in enumerate(counts) if count < least}
        if not low:
            return tuple(count / per_batch for count in counts)
        raised |= low
