"""Settings of the stages sft, reward and cost, and of what all training shares. Imports no torch.

Defaults are usual starting points for half a billion to a few billion pretrained weights on one GPU, not the result of
a search. What other models need instead stands in ``conf/recipe/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

from csrlhf.data.settings import BatchSettings, DemonstrationSettings, LabelledSettings
from csrlhf.errors import UserError
from csrlhf.models.settings import Pooling
from csrlhf.settings import Settings, setting


@dataclass
class OptimizerSettings(Settings):
    """Of ``build_optimizer``.

    Attributes:
        kind: which optimiser, an ``OptimizerKind``; None for ``AdamW``.
        lr: peak learning rate.
        weight_decay: on matrices only, never on biases, norms and other vectors.
        layer_decay: a backbone layer's rate is ``layer_decay`` times that of the layer above it, the embeddings are the
            lowest layer. 1 treats all alike.
        head_lr_factor: rate of parameters in a submodule called ``head``, over ``lr``: a score head starts from
            nothing, the backbone does not.
        beta2: decay of the second moment.
        fused: one kernel per group: several times faster on a CPU; ``AdamW`` only.
    """

    kind: Any = None
    lr: float = setting(1e-5, "above 0")
    weight_decay: float = setting(0.01, "0 or above")
    layer_decay: float = setting(1.0, "in (0, 1]")
    head_lr_factor: float = setting(1.0, "above 0")
    beta2: float = setting(0.999, "in (0, 1)")
    fused: bool = False

    def check(self, key: str) -> None:
        """Also refuses a form that the optimiser does not have."""
        super().check(key)
        if self.fused and not getattr(self.kind, "can_fuse", True):
            raise UserError(
                f"{key}.fused=true: only optimizer=adamw has a fused form; set {key}.fused=false, or take that one"
            )


class ScheduleKind(StrEnum):
    """The learning rate after the warm-up: as it is, or down to 0 at the last step."""

    constant = auto()
    linear = auto()
    cosine = auto()


@dataclass
class ScheduleSettings(Settings):
    """Of ``build_schedule``.

    Attributes:
        kind: of the rate after the warm-up.
        warmup: share of all steps in which the rate climbs from 0.
    """

    kind: ScheduleKind = ScheduleKind.cosine
    warmup: float = setting(0.1, "in [0, 1)")


def _check_length(settings: Any, key: str) -> None:
    """A training of nothing would publish an untrained model; of no end it needs steps (``require_training``)."""
    if settings.epochs < 1 and settings.epochs != -1:
        settings.refuse(key, "epochs", ">= 1")
    max_steps = getattr(settings, "max_steps", -1)
    if max_steps < -1 or max_steps == 0:
        settings.refuse(key, "max_steps", ">= 1, or -1 for no limit")


@dataclass
class SFTSettings(DemonstrationSettings):
    """Supervised fine-tuning.

    Attributes:
        epochs: passes over the demonstrations.
        gradient_clip: bound on the gradient's norm; None for none.
        optimizer: of all trained weights.
        schedule: of the learning rate.
    """

    epochs: int = 1
    gradient_clip: float | None = setting(1.0, "above 0")
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(lr=1e-5, weight_decay=0.0, beta2=0.95)
    )
    schedule: ScheduleSettings = field(default_factory=lambda: ScheduleSettings(warmup=0.05))

    def check(self, key: str) -> None:
        """Also refuses a training of nothing."""
        super().check(key)
        _check_length(self, key)


def _score_optimizer() -> OptimizerSettings:
    return OptimizerSettings(lr=1e-5, weight_decay=0.1)


@dataclass
class ScoreTraining(Settings):
    """How a score model is trained, of either kind.

    Attributes:
        epochs: passes over the rows of training.
        max_steps: limit of optimiser steps, below that of the epochs; -1: none.
        gradient_clip: bound on the gradient's norm; None for none.
        averaging: a callback that averages weights over steps.
        optimizer: of all trained weights.
        schedule: of the learning rate.
    """

    epochs: int = 1
    max_steps: int = -1
    gradient_clip: float | None = setting(1.0, "above 0")
    averaging: Any = None
    optimizer: OptimizerSettings = field(default_factory=_score_optimizer)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)

    def check(self, key: str) -> None:
        """Also refuses a training of nothing."""
        super().check(key)
        _check_length(self, key)


@dataclass
class RewardSettings(ScoreTraining, BatchSettings):
    """The reward model; ``batch_size`` counts pairs.

    Attributes:
        pooling: of the reward model; None for ``model.score.pooling``.
        regularization: see ``bradley_terry_loss``. Negative, it would drive the rewards apart without end.
        margin: by how much every chosen response is to score higher, beside the rows' own margins. In the units of
            training: ``standardize`` divides the rewards afterwards, and this distance with them. The loss is
            ``-log σ(r_w - r_l - m)`` with m this and the row's own. Negative, it would ask for the rejected response.
        standardize: after training, shift and scale the rewards to mean 0 and standard deviation 1 over the validation
            responses. The loss fixes neither, and a multiplier λ means something only against a known scale.
    """

    key = "reward"

    pooling: Pooling | None = None
    regularization: float = setting(0.001, "0 or above")
    margin: float = setting(0.0, "0 or above")
    standardize: bool = True


@dataclass
class CostSettings(ScoreTraining, LabelledSettings):
    """The cost model.

    Attributes:
        label_smoothing: see the losses.
        calibrate: fit a temperature on the validation split in the final validation run; it is saved with the model.
        baseline: train a bag-of-words baseline beside the final report.
        ridge: penalty of the squared weights of a head that is fitted to a frozen backbone
            (``model.score.tuning.method=frozen``), on standardised states, beside the mean loss; None for 0.1.
    """

    key = "cost"

    label_smoothing: float = setting(0.0, "in [0, 1)")
    calibrate: bool = True
    baseline: bool = True
    ridge: float | None = setting(None, "above 0")
