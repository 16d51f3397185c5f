"""An estimate with its bounds, the verdict that its bounds give, and what every bound refuses.

The vocabulary of all statistics here. How a bound is computed is in the files beside this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from csrlhf.errors import UserError

# Checks: counts that contradict each other, values that are missing, not numbers or out of range.


def check_confidence(key: str, confidence: float) -> float:
    """``confidence`` if it lies in (0, 1)."""
    if not 0 < confidence < 1:
        raise UserError(f"{key}={confidence}: a confidence lies in (0, 1), e.g. 0.95")
    return confidence


def in_percent(confidence: float) -> str:
    """A confidence, or a δ, in percent with all its digits: 0.95 is "95", 0.995 is "99.5" and not "100"."""
    return f"{100 * confidence:.6g}"


def check_counts(hits_name: str, hits: int, count_name: str, count: int) -> None:
    """Raise unless both are whole numbers with 0 <= hits <= count."""
    for name, value in ((hits_name, hits), (count_name, count)):
        whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
        if not whole or value < 0:
            raise UserError(f"{name}={value}: a count is a whole number, 0 or more")
    if hits > count:
        raise UserError(f"{hits_name}={hits} of {count_name}={count}: a part cannot be larger than the whole")


def finite_array(name: str, values: ArrayLike, dimensions: int = 1) -> NDArray[np.float64]:
    """``values`` as an array of floats; raises where it is empty, has other dimensions or holds NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise UserError(f"{name}: {dimensions} dimensions are needed, not an array of shape {list(array.shape)}")
    if not array.size:
        raise UserError(f"{name} is empty: nothing can be bounded from no observation")
    if not np.isfinite(array).all():
        place = [int(index) for index in np.argwhere(~np.isfinite(array))[0]]
        raise UserError(f"{name}{place}={array[tuple(place)]}: must be a finite number")
    return array


def bounded_array(name: str, values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    """``values`` as a vector; raises where one lies outside [low, high], or where these are no range."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(f"low={low}, high={high}: a bounded mean needs two finite ends with low < high")
    array = finite_array(name, values)
    outside = np.flatnonzero((array < low) | (array > high))
    if len(outside):
        raise UserError(
            f"{name}[{outside[0]}]={array[outside[0]]:g} lies outside [{low:g}, {high:g}]: the bound holds for values "
            "in a range that is known beforehand; give the range of the cost, not that of the sample"
        )
    return array


def truth_array(name: str, values: ArrayLike, dimensions: int = 1) -> NDArray[np.bool_]:
    """``values`` as booleans; raises where it is empty, has other dimensions or holds anything but 0 and 1."""
    array = finite_array(name, values, dimensions)
    if not np.isin(array, (0, 1)).all():
        raise UserError(
            f"{name}: holds {array[~np.isin(array, (0, 1))].flat[0]:g}; only true and false (1, 0) are known"
        )
    return array.astype(bool)


# An estimated number with its two one-sided bounds.


@dataclass(frozen=True)
class Estimate:
    """A number and how far it can be trusted.

    Example: 3 unsafe of 100 prompts at confidence 0.95:
    ``Estimate(value=0.03, lower=0.008, upper=0.076, method="Clopper-Pearson", count=100)``.

    Attributes:
        value: the point estimate.
        lower: holds alone at the confidence asked for; infinity and its negative where nothing is known.
        upper: likewise. Stating both at once errs in up to twice the share.
        method: where it comes from, in words for the certificate.
        count: independent observations behind it.
    """

    value: float
    lower: float
    upper: float
    method: str
    count: int


Verdict = Literal["CERTIFIED", "VIOLATED", "INCONCLUSIVE"]


def verdict(lower: float, upper: float, threshold: float) -> Verdict:
    """CERTIFIED if the upper bound keeps the threshold, VIOLATED if even the lower one is above it, else INCONCLUSIVE.

    Raises:
        UserError: a bound or the threshold is NaN, or the lower bound is above the upper.
    """
    if any(math.isnan(number) for number in (lower, upper, threshold)):
        raise UserError(f"lower={lower}, upper={upper}, threshold={threshold}: no verdict follows from NaN")
    if lower > upper:
        raise UserError(f"lower={lower:g} is above upper={upper:g}: these are not the bounds of one number")
    if upper <= threshold:
        return "CERTIFIED"
    return "VIOLATED" if lower > threshold else "INCONCLUSIVE"


def split_confidence(confidence: float, parts: int) -> float:
    """The confidence of each of ``parts`` statements that shall all be true at once: ``1 - δ / parts`` (Bonferroni).

    Also where the best of ``parts`` runs is chosen by the numbers that its certificate is made of.
    """
    check_confidence("confidence", confidence)
    if parts != int(parts) or parts < 1:
        raise UserError(f"parts={parts}: δ is split into a whole number of parts, 1 or more")
    return 1 - (1 - confidence) / parts
