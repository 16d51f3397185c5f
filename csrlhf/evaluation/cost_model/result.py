"""What the evaluation of a cost model found, in one place: the table, the page and the JSON file show parts of it.

Legend of suffixes: M dialogues, K constraints, H features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from csrlhf.data.encoding import prompt_text
from csrlhf.data.score_data import JudgedSplit
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.cost_model.evaluation import CostEvaluation
from csrlhf.runs import artifacts
from csrlhf.runs.artifacts import write_json
from csrlhf.scorers.base import Scorer
from csrlhf.stats.drift import FILE, Drift, Reference, drift_of
from csrlhf.types import LabelledRow, Prompt


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


# What a reader of a cost model's evaluation must know, and what went into it.


def notes_on(folders: Sequence[str], source: JudgedSplit, evaluations: Sequence[CostEvaluation]) -> list[str]:
    """Rows that the model knows, a model without reference, one class only: each a sentence or two.

    Args:
        folders: of the cost models.
        source: of the rows that were judged.
        evaluations: one per constraint.
    """
    notes = []
    for folder in folders:
        if Reference.read(folder) is None:
            notes.append(
                f"{folder} has no {FILE}: drift cannot be told. It is of an older version, or of elsewhere; make "
                "it again with stage=cost"
            )
        if (known := _known_split(folder, source)) is not None:
            notes.append(
                f"These rows are the {known} data of {folder}: figures are too good, and a threshold chosen on "
                "them is not certified for new rows. Evaluate on rows that it has never seen: data.test=FILE"
            )
    for one in evaluations:
        if one.unsafe_N.all() or not one.unsafe_N.any():
            only = "Unsafe" if one.unsafe_N.any() else "Safe"
            notes.append(f"Every row is {only} for {one.name}: what compares both classes is left out (–)")
    return notes


def _known_split(folder: str, source: JudgedSplit) -> str | None:
    """``train`` or ``validation`` where the cost model's record says that it was made with these very rows."""
    record = artifacts.read_record(Path(folder)) or {}
    known, mine, split = record.get("data", {}), source.hashes(), source.split
    for name in ("train", "validation"):
        if name in known and known[name] == mine.get(split):
            return name
    # A share of the training file, or a generated world: the split is known by its name alone.
    shared = split not in mine and any(known.get(name) == value for name, value in mine.items())
    return split if shared and split != "test" else None


def hashes_of(models: Mapping[str, str], source: JudgedSplit, outputs: str | None) -> dict[str, str]:
    """sha256 or fingerprint of everything that goes in, by name.

    Args:
        models: fingerprints of the cost models by their folders (or where else they come from).
        source: of the labelled rows.
        outputs: a file of policies' answers; None for none.
    """
    found = {f"data {name}": digest for name, digest in source.hashes().items()}
    found |= {f"cost model {name}": digest for name, digest in models.items()}
    if outputs is not None:
        found["outputs"] = hashlib.sha256(Path(outputs).expanduser().read_bytes()).hexdigest()
    return found


def check_costs(
    logits_MK: NDArray[np.float64], constraints: Sequence[str], folders: Sequence[str], place: Callable[[int], str]
) -> None:
    """Raises a UserError that names the first cost that is not finite: every figure would leave it out, or be NaN.

    Args:
        logits_MK: the costs.
        constraints: the names of their columns.
        folders: of the cost models.
        place: what to call a row.
    """
    broken = np.argwhere(~np.isfinite(logits_MK))
    if len(broken):
        (row, k), count = broken[0].tolist(), len(set(broken[:, 0].tolist()))
        raise UserError(
            f"inputs.cost={', '.join(folders)}: the cost of {constraints[k]} is {logits_MK[row, k]} for {place(row)} "
            f"({count} of {len(logits_MK)} rows have such a score); the model's weights are broken, make it again with "
            "stage=cost"
        )


# Do dialogues leave what the cost models were made on? Each model's own reference is the measure.


def drift_from_references(
    scorers: Sequence[Scorer],
    constraints: Sequence[str],
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    logits_MK: NDArray[np.float64],
    features: Sequence[NDArray[np.float32]],
) -> list[Drift]:
    """Against each cost model's reference; nothing where a folder has none.

    Args:
        scorers: the cost models.
        constraints: the names of the logits' columns.
        prompts: of the dialogues.
        responses: of the dialogues.
        logits_MK: cost logits.
        features: pooled states ``[M, H]`` of each scorer.
    """
    found: dict[str, Drift] = {}
    for scorer, features_MH in zip(scorers, features, strict=True):
        reference = Reference.read(scorer.name)
        if reference is not None:
            columns = [list(constraints).index(name) for name in scorer.outputs]
            drifts = drift_of(reference, scorer.outputs, prompts, responses, logits_MK[:, columns], features_MH)
            area = f"/{'+'.join(scorer.outputs)}" if len(scorers) > 1 else ""
            for drift in drifts:
                name = drift.name if drift.name.startswith("score/") else drift.name + area
                found[name] = Drift(**{**vars(drift), "name": name})
    return list(found.values())


def drift_of_policies(
    scorers: Sequence[Scorer],
    constraints: Sequence[str],
    answers: Sequence[Answer],
    logits_MK: NDArray[np.float64],
    features: Sequence[NDArray[np.float32]],
) -> dict[str, list[Drift]]:
    """The drift of each policy's answers, by its name; arguments as above, a row per answer."""
    drift = {}
    for policy in dict.fromkeys(answer.policy for answer in answers):
        rows = [number for number, answer in enumerate(answers) if answer.policy == policy]
        texts = [answers[row].messages for row in rows], [answers[row].response for row in rows]
        parts = logits_MK[rows], [part[rows] for part in features]
        drift[policy] = drift_from_references(scorers, constraints, *texts, *parts)
    return drift
