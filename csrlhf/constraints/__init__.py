"""What is constrained: a statistic of the costs, its threshold, and the per-sample cost it is built from."""

from csrlhf.constraints.base import Constraint, Statistic
from csrlhf.constraints.chance import Chance
from csrlhf.constraints.cvar import CVaR
from csrlhf.constraints.mean import Mean
from csrlhf.constraints.pessimistic import Pessimistic
from csrlhf.constraints.set import Constraints, ConstraintState

__all__ = ["CVaR", "Chance", "Constraint", "ConstraintState", "Constraints", "Mean", "Pessimistic", "Statistic"]
