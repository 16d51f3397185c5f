"""What a violation costs: one small file per strategy, behind the contract in ``base``."""

from csrlhf.penalties.adaptive import Adaptive
from csrlhf.penalties.augmented_lagrangian import AugmentedLagrangian
from csrlhf.penalties.base import Penalty, Weights
from csrlhf.penalties.huber import Huber
from csrlhf.penalties.lagrangian import Lagrangian
from csrlhf.penalties.linear import Linear
from csrlhf.penalties.log_barrier import LogBarrier
from csrlhf.penalties.none import NoPenalty
from csrlhf.penalties.p3o import P3O
from csrlhf.penalties.pid import PID
from csrlhf.penalties.rectified import Rectified
from csrlhf.penalties.repo import RePO
from csrlhf.penalties.sample_hinge import SampleHinge
from csrlhf.penalties.softplus import Softplus
from csrlhf.penalties.squared import Squared
from csrlhf.penalties.switching import Switching

__all__ = [
    "P3O",
    "PID",
    "Adaptive",
    "AugmentedLagrangian",
    "Huber",
    "Lagrangian",
    "Linear",
    "LogBarrier",
    "NoPenalty",
    "Penalty",
    "RePO",
    "Rectified",
    "SampleHinge",
    "Softplus",
    "Squared",
    "Switching",
    "Weights",
]
