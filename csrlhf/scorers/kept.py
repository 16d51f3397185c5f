"""Scores that come from far, or dear: asked for once, checked, and kept in a file as soon as they are there.

A run that is killed or whose endpoint fails takes them from the file when it goes on, and asks for the rest alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from csrlhf.errors import UserError, writing
from csrlhf.scorers.base import Scorer
from csrlhf.scorers.rendering import Turns, turns_of
from csrlhf.types import Prompt


class KeptScorer(Scorer):
    """Base of scorers that hand texts to somebody else's program.

    Args:
        outputs: the names of the columns.
        name: where the scores come from.
        about: what they depend on beside the texts: scores of another one are never taken.
        batch_size: dialogues that are asked for at a time.
        key: where the scorer is named, for messages.
    """

    def __init__(self, outputs: Sequence[str], name: str, about: Mapping[str, Any], batch_size: int, key: str) -> None:
        super().__init__()
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"{key}.batch_size={batch_size}: must be a whole number, 1 or more")
        self.name, self.batch_size = name, batch_size
        self.available = self.outputs = tuple(outputs)
        self._about = hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()
        self._known: dict[str, list[float]] = {}
        self._file: Path | None = None
        self.register_buffer("_place", torch.zeros(()), persistent=False)  # knows the device

    def ask(self, prompts: Sequence[Turns], responses: Sequence[str], ended: Sequence[bool]) -> Any:
        """A batch's scores, ``[n]`` or ``[n, K]``, as numbers of any kind."""
        raise NotImplementedError

    def choose(self, outputs: Sequence[str]) -> None:
        """Give these of the columns from now on."""
        missing = [name for name in outputs if name not in self.available]
        if missing:
            raise UserError(f"{self.name} scores {', '.join(self.available)} and not {', '.join(missing)}")
        self.outputs = tuple(outputs)

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Scores [B, K]; arguments as in :meth:`Scorer.raw_scores`."""
        rows = [
            (turns_of(prompt), said, bool(end)) for prompt, said, end in zip(prompts, responses, ended, strict=True)
        ]
        keys = [
            hashlib.sha256(json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()
            for row in rows
        ]
        missing = list({key: row for key, row in zip(keys, rows, strict=True) if key not in self._known}.items())
        for start in range(0, len(missing), self.batch_size):
            part = missing[start : start + self.batch_size]
            answer = self.ask(*(list(column) for column in zip(*(row for _, row in part), strict=True)))
            scores = checked(answer, len(part), len(self.available), self.name)
            self._keep({key: row for (key, _), row in zip(part, scores, strict=True)})
        columns = [self.available.index(name) for name in self.outputs]
        scores_BK = torch.tensor([self._known[key] for key in keys], dtype=torch.float64)[:, columns]
        place: Any = self._place
        return scores_BK.to(place.device, torch.promote_types(place.dtype, torch.float32))

    def keep_in(self, folder: Path) -> None:
        """Append scores to a file of this process from now on, and take up those that stand in anybody's."""
        stem = f"scores-{self._about[:16]}"
        for path in sorted(folder.glob(f"{stem}-*.jsonl")):
            for line in path.read_bytes().split(b"\n")[:-1]:  # a kill may have left the beginning of one
                try:
                    self._known |= {key: [float(one) for one in row] for key, row in json.loads(line).items()}
                except (ValueError, AttributeError, TypeError) as error:
                    raise UserError(
                        f"{path}: is not what was kept, the file was changed; delete it and go on"
                    ) from error
        self._file = folder / f"{stem}-{os.getpid()}.jsonl"

    @property
    def kept_note(self) -> str:
        """What an error adds where scores are kept for a run that goes on."""
        return (
            "" if self._file is None else "; what is scored so far is kept: the same command with resume=true goes on"
        )

    def _keep(self, fresh: dict[str, list[float]]) -> None:
        self._known |= fresh
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with writing(self._file), self._file.open("ab") as file:
                file.write(json.dumps(fresh).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())


def checked(answer: Any, count: int, columns: int, name: str) -> list[list[float]]:
    """Scores as rows of numbers.

    Args:
        answer: what was given: a tensor, an array or lists, ``[count]`` or ``[count, columns]``.
        count: of the responses.
        columns: of scores to each.
        name: who gave it, for messages.

    Raises:
        UserError: another number of scores, or one that is no finite number.
    """
    value = answer.detach().cpu().double().numpy() if isinstance(answer, Tensor) else answer
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: gave {str(answer)[:80]!r}, which is no list of numbers") from error
    wanted = f"{count} responses" + (f" and {columns} scores to each" if columns > 1 else "")
    if found.shape not in ((count, columns), *(((count,),) if columns == 1 else ())):
        shape = " x ".join(map(str, found.shape)) or "one"
        raise UserError(
            f"{name}: gave {shape} scores for {wanted}; it must give one list entry for each response, in order"
        )
    rows = found.reshape(count, columns)
    broken = np.argwhere(~np.isfinite(rows))
    if len(broken):
        row = int(broken[0, 0])
        raise UserError(
            f"{name}: gave {rows[row].tolist()} for response {row + 1} of {count}; scores must be finite numbers"
        )
    return rows.tolist()
