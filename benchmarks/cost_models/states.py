"""States of a frozen backbone for dialogues, kept on disk: every fold and every choice of rows reads the same ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from csrlhf.data.encoding import encode_dialogue, pad, pad_id, prompt_text, seen_response
from csrlhf.models.score_model import ScoreModel, ScoreSpec
from csrlhf.types import LabelledRow

CHUNK = 64
"""Dialogues after which what is there is written."""


@dataclass(frozen=True)
class States:
    """Pooled states by dialogue, computed once.

    Attributes:
        folder: where they are kept, in a file for each setting of the model.
        spec: of the model.
    """

    folder: Path
    spec: ScoreSpec

    @property
    def path(self) -> Path:
        """The file of this setting."""
        digest = hashlib.sha256(json.dumps(asdict(self.spec), sort_keys=True).encode()).hexdigest()
        return self.folder / f"states-{digest[:8]}.npz"

    def of(self, rows: Sequence[LabelledRow]) -> NDArray[np.float32]:
        """States ``[N, H]`` of rows, those that are missing computed and kept."""
        found = self._read()
        texts = {_key(row): row for row in rows}
        missing = sorted((key for key in texts if key not in found), key=lambda key: len(texts[key].response))
        if missing:
            model = self.spec.build(("harm",)).eval()
            for start in range(0, len(missing), CHUNK):
                chunk = missing[start : start + CHUNK]
                states = _states(self.spec, model, [texts[key] for key in chunk])
                found |= dict(zip(chunk, states, strict=True))
                self._write(found)
                print(f"states: {start + len(chunk)} of {len(missing)}", flush=True)
        return np.stack([found[_key(row)] for row in rows])

    def _read(self) -> dict[str, NDArray[np.float32]]:
        if not self.path.is_file():
            return {}
        with np.load(self.path) as stored:
            return dict(zip(stored["keys"].tolist(), stored["states"], strict=True))

    def _write(self, found: Mapping[str, NDArray[np.float32]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".tmp.npz")
        np.savez(unfinished, keys=np.array(list(found)), states=np.stack(list(found.values())))
        unfinished.rename(self.path)


def _key(row: LabelledRow) -> str:
    return hashlib.sha256(f"{prompt_text(row.prompt)}\0{row.response}".encode()).hexdigest()


@torch.no_grad()
def _states(spec: ScoreSpec, model: ScoreModel, rows: Sequence[LabelledRow]) -> NDArray[np.float32]:
    """As ``LabelledDataModule`` encodes and ``ScoreModel`` reads them."""
    tokenizer = spec.tokenizer
    sequences = [
        encode_dialogue(tokenizer, row.prompt, seen_response(tokenizer, row.response), spec.max_tokens) for row in rows
    ]
    return model.features(*pad(sequences, pad_id(tokenizer))).float().numpy()
