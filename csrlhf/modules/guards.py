"""Stop at the first number that is not finite, and say which.

A check is made on what every process sees alike (an average over all of them is not finite where one of them is not): a
process that stopped alone would leave the others waiting for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from csrlhf.errors import UserError


def require_finite(name: str, value: Tensor, step: int) -> Tensor:
    """``value`` if every entry is finite.

    Raises:
        UserError: names the quantity and the step. The last checkpoint on disk is untouched: it was written
            before this step.
    """
    if not bool(torch.isfinite(value).all()):
        bad = "NaN" if bool(torch.isnan(value).any()) else "infinite"
        raise UserError(
            f"{name} is {bad} at step {step}: stopped, and the last good checkpoint is kept. Lower the learning "
            "rate or the gradient clip of this stage, check the data, then resume with resume=true"
        )
    return value
