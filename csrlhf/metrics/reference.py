"""What a cost model has seen: the file ``reference.safetensors`` in its folder, by which drift is noticed.

Lengths are those of the training dialogues. Scores and features are those of the validation dialogues: a model is
surer of the rows that it was trained on than of any others, so that by those every new row would look strange. The
file holds numbers and no text.

Legend of suffixes: N training rows, M validation rows, K outputs, H features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.types import Prompt

FILE = "reference.safetensors"
MAX_LENGTHS = 10_000
"""Training rows whose lengths are kept, evenly spread."""

MAX_FEATURES = 512
"""Validation rows whose scores and features are kept, likewise."""


@dataclass(frozen=True)
class Reference:
    """The distribution that a cost model was made on.

    Attributes:
        outputs: names of the K scores.
        prompt_words_N: words of the training prompts.
        response_words_N: words of the training responses.
        logits_MK: cost logits of validation dialogues, after calibration.
        features_MH: the backbone's pooled states of the same dialogues.
    """

    outputs: tuple[str, ...]
    prompt_words_N: NDArray[np.float64]
    response_words_N: NDArray[np.float64]
    logits_MK: NDArray[np.float64]
    features_MH: NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """Write the file."""
        arrays = {
            "prompt_words": self.prompt_words_N,
            "response_words": self.response_words_N,
            "logits": self.logits_MK,
            "features": self.features_MH,
        }
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        save_file(contiguous, folder / FILE, metadata={"outputs": ",".join(self.outputs)})

    @classmethod
    def read(cls, folder: str | Path) -> Reference | None:
        """What ``save`` wrote; None where the folder has no such file.

        Raises:
            UserError: the file is broken.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="numpy") as file:
                outputs = tuple(file.metadata()["outputs"].split(","))
                return cls(
                    outputs=outputs,
                    prompt_words_N=file.get_tensor("prompt_words"),
                    response_words_N=file.get_tensor("response_words"),
                    logits_MK=file.get_tensor("logits"),
                    features_MH=file.get_tensor("features"),
                )
        except (SafetensorError, KeyError, TypeError) as error:
            raise UserError(f"{path}: broken or cut short ({error}); make the cost model again: stage=cost") from error


def words_of(prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Number of words of each prompt and of each response."""
    return (
        np.array([len(prompt_text(prompt).split()) for prompt in prompts], dtype=np.float64),
        np.array([len(response.split()) for response in responses], dtype=np.float64),
    )


def spread(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of the row numbers 0 to ``count - 1``, evenly spread."""
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.int64)
