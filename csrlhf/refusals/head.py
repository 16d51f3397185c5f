"""The classifier on signs and states: standardise, project, one linear layer.

Legend: B answers, S signs, H hidden size, D kept directions of the states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INVERSE_PENALTY = 0.03
"""``C`` of the logistic regression, for weights that sum to about 300 a model."""


@dataclass(frozen=True)
class Head:
    """A fitted classifier; logits above 0 are refusals where both kinds weighed the same in training.

    Attributes:
        sign_mean_S: of the training rows.
        sign_scale_S: their deviations.
        state_mean_H: of the training rows.
        directions_DH: rows are principal directions of standardised states, each divided by the deviation along it.
        weight_F: of signs, then of directions, ``F = S + D``.
        bias_1: of the logit.
    """

    sign_mean_S: Array
    sign_scale_S: Array
    state_mean_H: Array
    directions_DH: Array
    weight_F: Array
    bias_1: Array

    def features(self, signs_BS: Array, states_BH: Array) -> Array:
        """What the linear layer reads, ``[B, F]``."""
        signs = (signs_BS - self.sign_mean_S) / self.sign_scale_S
        return np.hstack([signs, (states_BH - self.state_mean_H) @ self.directions_DH.T])

    def logits(self, signs_BS: Array, states_BH: Array) -> Array:
        """Log-odds of a refusal, ``[B]``."""
        return self.features(signs_BS, states_BH) @ self.weight_F + self.bias_1[0]

    def tensors(self) -> dict[str, Array]:
        """By name, for a file."""
        return {item.name: np.ascontiguousarray(getattr(self, item.name)) for item in fields(self)}

    @classmethod
    def of(cls, tensors: Mapping[str, Array]) -> Head:
        """From a file's tensors.

        Raises:
            KeyError: one is missing.
            ValueError: their shapes do not fit together.
        """
        head = cls(**{item.name: np.asarray(tensors[item.name], dtype=np.float64) for item in fields(cls)})
        features = head.sign_mean_S.size + len(head.directions_DH)
        fits = head.weight_F.shape == (features,) and head.directions_DH.shape[1:] == head.state_mean_H.shape
        if not fits or head.sign_scale_S.shape != head.sign_mean_S.shape or head.bias_1.shape != (1,):
            raise ValueError("tensors of shapes that do not fit together")
        return head


def fit(
    signs_BS: Array, states_BH: Array, refused_B: NDArray[np.bool_], weight_B: Array, most_directions: int = 64
) -> Head:
    """Fit standardisation, directions and the linear layer on the rows that are given.

    Args:
        signs_BS: of :func:`csrlhf.refusals.signs.signs`.
        states_BH: of :class:`csrlhf.refusals.states.Backbone`.
        refused_B: the labels; both must occur.
        weight_B: of each row in the loss.
        most_directions: of the states that are kept.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression

    directions = min(most_directions, len(states_BH), states_BH.shape[1])
    # Every number of a state counts alike: a language model has a few that are a hundred times as large as the rest.
    deviation_H = states_BH.std(axis=0)
    deviation_H = np.where(deviation_H > 0, deviation_H, 1.0)
    mean_H = states_BH.mean(axis=0)
    pca: Any = PCA(directions, svd_solver="full").fit((states_BH - mean_H) / deviation_H)
    deviation_D = np.sqrt(pca.explained_variance_)
    kept = deviation_D > 1e-9  # a tiny model's states may lie in fewer directions
    scale_S = signs_BS.std(axis=0)
    unfitted = Head(
        signs_BS.mean(axis=0),
        np.where(scale_S > 0, scale_S, 1.0),
        mean_H,
        pca.components_[kept] / deviation_D[kept, None] / deviation_H,
        np.zeros(signs_BS.shape[1] + int(kept.sum())),
        np.zeros(1),
    )
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=500)
    model.fit(unfitted.features(signs_BS, states_BH), refused_B, sample_weight=weight_B)
    return Head.of(unfitted.tensors() | {"weight_F": model.coef_[0], "bias_1": model.intercept_})
