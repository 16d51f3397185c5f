"""Hypotheses that are tested one after the other, each at the whole δ, up to the first that is not rejected."""

from __future__ import annotations

from collections.abc import Sequence


def last_passed(excesses: Sequence[float]) -> tuple[int, float]:
    """The last of several policies that pass one after the other, and a bound on its excess.

    Each excess is an upper bound, at confidence 1 - δ, on how far a policy is above its threshold; the order must be
    fixed by other data than the bounds are made of. Then the policy that is returned is above the bound that is
    returned with probability δ at most, however many there are: the first policy of the order that truly is above its
    threshold must have passed for any later one to be wrongly reached, and it passes with probability δ at most.

    A passed policy is known to keep its threshold, and no more (0), unless all have passed: then what is known is the
    largest of the bounds.

    Source: stepwise intervals of Hsu and Berger (1999), JASA 94, theorem 1; the order from other data as in Pareto
    testing (arXiv 2210.07913).

    Args:
        excesses: in the order of testing; those behind the first above 0 need not be known.

    Returns:
        The place of the last policy before the first excess above 0 (0 where that is the first), and the bound.
    """
    if not excesses:
        raise ValueError("excesses is empty: there is nothing to test")
    failed = next((place for place, excess in enumerate(excesses) if excess > 0), None)
    if failed is None:
        return len(excesses) - 1, max(excesses)
    return (0, excesses[0]) if failed == 0 else (failed - 1, 0.0)
