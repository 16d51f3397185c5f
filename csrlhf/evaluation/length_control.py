"""Reward at equal length: reward models like long answers, and a policy can win by talking more.

Method: the least-squares line of the reward difference on the length difference (words), over prompts,
``Δr = a + b Δlength``. Its intercept ``a`` is the reward difference at equal length, the idea of length-controlled
AlpacaEval (Dubois et al., arXiv 2404.04475) with a linear model in place of a logistic one. Standard errors are HC3
(MacKinnon and White 1985), robust to a spread that grows with the length difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from csrlhf.certify.bounds import student_quantile
from csrlhf.evaluation.answers import Answer
from csrlhf.evaluation.arena import reward_difference
from csrlhf.evaluation.pairing import pairs_by_prompt
from csrlhf.evaluation.rates import Estimate, mean

LEAST_PROMPTS = 5
"""With fewer a line through the differences means nothing."""


@dataclass(frozen=True)
class LengthControl:
    """The line through the differences.

    Attributes:
        intercept: reward difference (challenger minus baseline) at equal length.
        slope: reward for one word more.
        length_difference: mean words of the challenger minus the baseline's.
    """

    intercept: Estimate
    slope: float
    length_difference: float


def length_control(challenger: Sequence[Answer], baseline: Sequence[Answer], confidence: float) -> LengthControl | None:
    """Fits the line; None where prompts are too few.

    Args:
        challenger: answers with rewards.
        baseline: the other policy's, to the same prompts.
        confidence: of the intercept's interval (Student's, two-sided).
    """
    prompts = pairs_by_prompt(challenger, baseline).values()
    if len(prompts) < LEAST_PROMPTS:
        return None
    rewards = np.array([mean([reward_difference(pair) for pair in pairs]) for pairs in prompts])
    lengths = np.array(
        [mean([float(len(a.response.split()) - len(b.response.split())) for a, b in pairs]) for pairs in prompts]
    )
    num_answers = sum(len(pairs) for pairs in prompts)
    intercept, slope, stderr = fit_line(lengths, rewards)
    if math.isnan(stderr):
        estimate = Estimate(intercept, math.nan, math.nan, len(rewards), num_answers)
    else:
        reach = student_quantile((1 + confidence) / 2, len(rewards) - 2) * stderr
        estimate = Estimate(intercept, intercept - reach, intercept + reach, len(rewards), num_answers)
    return LengthControl(estimate, slope, float(lengths.mean()))


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """Intercept, slope, and the intercept's HC3 standard error; a slope of 0 where ``x`` is always the same.

    Without any difference in ``x`` but 0 the intercept is the mean. Where all differ by the same amount, no line can
    tell length from the rest: NaN.
    """
    if np.ptp(x) == 0:
        if x[0] != 0:
            return math.nan, math.nan, math.nan
        return float(y.mean()), 0.0, float(y.std(ddof=1) / math.sqrt(len(y)))
    design = np.column_stack([np.ones_like(x), x])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
    if np.any(leverage > 1 - 1e-9):  # one prompt alone carries the slope: its residual is 0 whatever the noise
        return float(beta[0]), float(beta[1]), math.nan
    residuals = (y - design @ beta) / (1 - leverage)
    covariance = inverse @ (design.T * residuals**2) @ design @ inverse
    return float(beta[0]), float(beta[1]), float(math.sqrt(max(covariance[0, 0], 0.0)))
