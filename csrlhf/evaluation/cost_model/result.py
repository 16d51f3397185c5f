"""What the evaluation of a cost model found, in one place: the table, the page and the JSON file show parts of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.special import expit

from csrlhf.artifacts import write_json
from csrlhf.data.encoding import prompt_text
from csrlhf.metrics.cost_evaluation import CostEvaluation
from csrlhf.metrics.drift import Drift
from csrlhf.types import LabelledRow


@dataclass(frozen=True)
class CostResult:
    """Everything that is shown or written.

    Attributes:
        title: the cost model's name, for headings.
        split: which rows were judged.
        rows: the labelled rows.
        evaluations: one per constraint.
        numbers: the flat metrics, keyed as in docs/reference/metrics.md.
        drift: by set of dialogues: ``labelled``, and the policies of ``evaluate.outputs``.
        notes: what a reader must know: no reference, rows that the model was chosen by, one class only.
        hashes: of what went in, by name.
    """

    title: str
    split: str
    rows: Sequence[LabelledRow]
    evaluations: Sequence[CostEvaluation]
    numbers: Mapping[str, float]
    drift: Mapping[str, Sequence[Drift]]
    notes: Sequence[str] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)

    def number(self, evaluation: CostEvaluation, key: str) -> float:
        """A metric of one constraint."""
        area = f"{evaluation.name}/" if len(self.evaluations) > 1 else ""
        return self.numbers.get(f"{self.split}/{area}{key}", float("nan"))

    def write(self, folder: Path) -> dict[str, str]:
        """``predictions.jsonl`` and ``evaluation.json`` with its hash; gives all hashes."""
        content = "".join(f"{line}\n" for line in self.predictions()).encode()
        (folder / "predictions.jsonl").write_bytes(content)
        hashes = {**self.hashes, "predictions": hashlib.sha256(content).hexdigest()}
        record = {
            "cost_model": self.title,
            "split": self.split,
            "rows": len(self.rows),
            "constraints": {evaluation.name: evaluation.record() for evaluation in self.evaluations},
            "drift": {name: [drift.record() for drift in drifts] for name, drifts in self.drift.items()},
            "notes": list(self.notes),
            "sha256": hashes,
        }
        write_json(folder / "evaluation.json", record)
        return hashes

    def predictions(self) -> list[str]:
        """One JSON line per labelled row, in the file's order."""
        return [json.dumps(self._prediction(row), ensure_ascii=False) for row in range(len(self.rows))]

    def _prediction(self, row: int) -> dict[str, Any]:
        labelled = self.rows[row]
        texts = json.dumps([prompt_text(labelled.prompt), labelled.response], ensure_ascii=False)
        judged = {
            one.name: {
                "unsafe": bool(one.unsafe_N[row]),
                "cost_logit": float(one.logit_N[row]),
                "probability": float(expit(one.logit_N[row])),
                "flagged": bool(one.logit_N[row] > 0),
            }
            for one in self.evaluations
        }
        return {
            "row": row,
            "prompt": labelled.prompt,
            "response": labelled.response,
            "category": labelled.meta.get("category"),
            "sha256": hashlib.sha256(texts.encode("utf-8", "surrogatepass")).hexdigest(),
            "judged": judged,
        }
