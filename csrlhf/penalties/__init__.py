"""What a violation costs: one small file per strategy, behind the contract in ``base``."""

from csrlhf.penalties.base import Penalty, Weights
from csrlhf.penalties.lagrangian import Lagrangian
from csrlhf.penalties.linear import Linear
from csrlhf.penalties.none import NoPenalty
from csrlhf.penalties.rectified import Rectified

__all__ = ["Lagrangian", "Linear", "NoPenalty", "Penalty", "Rectified", "Weights"]
