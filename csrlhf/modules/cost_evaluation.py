"""Stage ``evaluate`` with ``evaluate=cost_model``: how good is a cost model on labelled rows, where does it hold?

It trains nothing and stores nothing in the model: the temperature stays what ``stage=cost`` fitted, and a threshold
that it chooses is for a person to set. Numbers are made in ``metrics/``, the page in ``evaluation/cost_page.py``.

Legend of suffixes: M dialogues, N labelled rows, K constraints, H features.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from csrlhf import artifacts
from csrlhf.data.encoding import prompt_text
from csrlhf.data.judged_rows import JudgedSplit
from csrlhf.data.near_duplicates import normalise
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.answers import Answer, read_answers
from csrlhf.evaluation.cost_page import cost_page
from csrlhf.evaluation.cost_result import CostResult
from csrlhf.evaluation.cost_tables import print_result
from csrlhf.metrics.cost_evaluation import CostEvaluation, evaluate_output
from csrlhf.metrics.cost_report import cost_report
from csrlhf.metrics.drift import Drift
from csrlhf.metrics.drift_report import drift_numbers, drift_of, warning_of
from csrlhf.metrics.reference import FILE, Reference
from csrlhf.models.cost_models import CostFolders, CostModels, cost_scorer
from csrlhf.models.loading import load_tokenizer
from csrlhf.models.text_scorer import TextScorer
from csrlhf.modules.ranks import gather_lists, num_ranks
from csrlhf.types import Prompt

Judged = tuple[int, list[float], list[Tensor]]
"""A dialogue's number, its K cost logits, and the features ``[H]`` of each scorer."""


class CostEvaluationModule(LightningModule):
    """Runs once over labelled rows.

    Args:
        cost: folder (or folders, see ``cost_scorer``) of ``stage=cost``.
        outputs: an ``answers.jsonl`` of policies, compared with what the cost model was made on; None for none.
        max_false_negative_rate: the most unsafe answers that the threshold to choose may let pass, as a share of them.
        delta: probability that it lets more pass all the same, over all constraints together.
        baseline: train a bag-of-words baseline beside the model, where the data has a training split.

    Raises:
        UserError: a rate is out of range, a file is broken, a model lacks a constraint, or a score is not finite.

    Attributes:
        result: what was found, after the run.
    """

    def __init__(
        self,
        cost: CostFolders,
        outputs: str | None = None,
        max_false_negative_rate: float = 0.05,
        delta: float = 0.05,
        baseline: bool = True,
    ) -> None:
        super().__init__()
        for key, value in {"max_false_negative_rate": max_false_negative_rate, "delta": delta}.items():
            if not 0 < value < 1:
                raise UserError(f"evaluate.{key}={value}: must be in (0, 1), e.g. 0.05")
        self.cost, self.outputs = cost, outputs
        self.max_false_negative_rate, self.delta, self.baseline = max_false_negative_rate, delta, baseline
        self.final_metrics: dict[str, float] = {}
        self.result: CostResult | None = None
        self._judged: list[Judged] = []

    @property
    def folders(self) -> list[str]:
        """The cost models' folders, each once."""
        if isinstance(self.cost, str | Path):
            return [str(self.cost)]
        found = self.cost.values() if isinstance(self.cost, Mapping) else self.cost
        return list(dict.fromkeys(map(str, found)))

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The first cost model's."""
        return load_tokenizer(self.folders[0])

    @property
    def source(self) -> JudgedSplit:
        """Where the rows come from; its test split is the one to judge."""
        return self.trainer.datamodule.source  # type: ignore[attr-defined]  # Lightning attaches it at run time

    @property
    def scorers(self) -> list[TextScorer]:
        """The cost models."""
        model = self.cost_model
        return list(model.scorers) if isinstance(model, CostModels) else [model]  # type: ignore[arg-type]  # scorers

    def configure_model(self) -> None:
        """Load the cost models, once."""
        if not hasattr(self, "cost_model"):
            self.cost_model: nn.Module = cost_scorer(self.cost, self.source.constraints)

    def setup(self, stage: str) -> None:
        """Read the policies' answers before anything is scored: a broken line should not surface afterwards."""
        self._outputs: list[Answer] = [] if self.outputs is None else read_answers(self.outputs)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Judge labelled rows."""
        rows = self.source.labelled("test")
        self._judged += self._judge({row: (rows[row].prompt, rows[row].response, True) for row in batch["rows"]})

    def on_test_epoch_end(self) -> None:
        """Everything that is found of the gathered scores, the table and the warnings."""
        rows, constraints = self.source.labelled("test"), self.source.constraints
        logits_NK, features = self._gather(self._judged)
        self._judged = []
        self._check(logits_NK, [self._place(prompt_text(row.prompt), n) for n, row in enumerate(rows)])
        temperature = self._temperatures(constraints)
        evaluations = [
            evaluate_output(name, logits_NK[:, k], temperature[name], rows, k, self.max_false_negative_rate,
                            self.delta / len(constraints))
            for k, name in enumerate(constraints)
        ]  # fmt: skip
        texts = [row.prompt for row in rows], [row.response for row in rows]
        drift = {"labelled": self._drift(*texts, logits_NK, features)} | self._drift_of_answers()
        drift = {name: found for name, found in drift.items() if found}
        split = self.source.split
        self.final_metrics |= self._numbers(split, logits_NK, evaluations) | drift_numbers(drift)
        self.log_dict({key: value for key, value in self.final_metrics.items() if np.isfinite(value)})
        names = ", ".join(Path(folder).resolve().name for folder in self.folders)
        notes = [*self._notes(evaluations), *filter(None, (warning_of(name, found) for name, found in drift.items()))]
        self.result = CostResult(names, split, rows, evaluations, self.final_metrics, drift, notes, self._hashes())
        if self.trainer.is_global_zero:
            print_result(self.result)

    def export(self, folder: Path) -> None:
        """Write predictions, the whole result, the page and its figures."""
        assert self.result is not None, "export comes after the run"
        hashes = self.result.write(folder)
        page = cost_page(self.result, hashes)
        page.write(folder / "report.html")
        page.save_figures(folder / "plots")

    # Scoring.

    def _judge(self, dialogues: Mapping[int, tuple[Prompt, str, bool]]) -> list[Judged]:
        """Scores by number; every scorer reads every dialogue once."""
        texts: tuple[Any, ...] = tuple(zip(*dialogues.values(), strict=True)) if dialogues else ((), (), ())
        columns: dict[str, Tensor] = {}
        features: list[Tensor] = []
        for scorer in self.scorers:
            scores_MK, features_MH = scorer.scores_and_features(*texts)
            columns |= dict(zip(scorer.outputs, scores_MK.double().cpu().unbind(1), strict=True))
            features.append(features_MH.float().cpu())
        logits_MK = torch.stack([columns[name] for name in self.source.constraints], dim=1)
        return [(number, logits_MK[m].tolist(), [part[m] for part in features]) for m, number in enumerate(dialogues)]

    def _gather(self, judged: list[Judged]) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
        """Logits ``[M, K]`` and each scorer's features ``[M, H]`` of all processes, in the dialogues' order."""
        everything = sorted(gather_lists(self, judged), key=lambda item: item[0])
        logits_MK = np.array([logits for _, logits, _ in everything], dtype=np.float64)
        return logits_MK, [
            torch.stack([parts[index] for _, _, parts in everything]).numpy() for index in range(len(self.scorers))
        ]

    def _check(self, logits_MK: NDArray[np.float64], places: Sequence[str]) -> None:
        """Stops at a score that is no number: every figure would silently leave it out or be NaN."""
        broken = np.argwhere(~np.isfinite(logits_MK))
        if len(broken):
            (row, k), count = broken[0], len(set(broken[:, 0].tolist()))
            raise UserError(
                f"inputs.cost={', '.join(self.folders)}: the cost of {self.source.constraints[k]} is "
                f"{logits_MK[row, k]} for {places[row]} ({count} of {len(logits_MK)} rows have such a score); the "
                "model's weights are broken, make it again with stage=cost"
            )

    def _place(self, prompt: str, row: int) -> str:
        place = self.source.places("test").get(normalise(prompt)) if self.source.oracle is None else None
        return place or f"row {row + 1} of data.{self.source.split}"

    # What is made of the scores.

    def _temperatures(self, constraints: Sequence[str]) -> dict[str, float]:
        found = {
            name: float(value)
            for scorer in self.scorers
            for name, value in zip(scorer.outputs, scorer.temperature_K.tolist(), strict=True)
        }
        return {name: found[name] for name in constraints}

    def _numbers(
        self, split: str, logits_NK: NDArray[np.float64], evaluations: Sequence[CostEvaluation]
    ) -> dict[str, float]:
        has_train = self.baseline and self.source.has("train")
        train_rows = self.source.labelled("train") if has_train else []
        report = cost_report(self.source.constraints, expit(logits_NK), self.source.labelled("test"), train_rows)
        numbers: dict[str, float] = {}
        for name, value in report.items():
            before, baseline, after = name.partition("baseline/")
            numbers[f"{baseline}{split}/{before}{after}"] = value
        for one in evaluations:
            area = f"{split}/{one.name}" if len(evaluations) > 1 else split
            numbers |= {f"{area}/{key}": value for key, value in one.numbers().items()}
        return numbers

    def _drift(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        logits_MK: NDArray[np.float64],
        features: Sequence[NDArray[np.float32]],
    ) -> list[Drift]:
        """Against each cost model's reference; nothing where a folder has none."""
        found: dict[str, Drift] = {}
        for scorer, features_MH in zip(self.scorers, features, strict=True):
            reference = Reference.read(scorer.folder)
            if reference is not None:
                columns = [list(self.source.constraints).index(name) for name in scorer.outputs]
                drifts = drift_of(reference, scorer.outputs, prompts, responses, logits_MK[:, columns], features_MH)
                area = f"/{'+'.join(scorer.outputs)}" if len(self.scorers) > 1 else ""
                for drift in drifts:
                    name = drift.name if drift.name.startswith("score/") else drift.name + area
                    found[name] = Drift(**{**vars(drift), "name": name})
        return list(found.values())

    def _drift_of_answers(self) -> dict[str, list[Drift]]:
        """Of every policy in ``evaluate.outputs``."""
        share = range(self.global_rank, len(self._outputs), num_ranks(self)) if self._outputs else range(0)
        mine = {number: self._outputs[number] for number in share}
        judged = self._judge({n: (answer.messages, answer.response, answer.ended) for n, answer in mine.items()})
        if not self._outputs:
            return {}
        logits_MK, features = self._gather(judged)
        self._check(logits_MK, [f"answer {answer.id} of evaluate.outputs={self.outputs}" for answer in self._outputs])
        drift = {}
        for policy in dict.fromkeys(answer.policy for answer in self._outputs):
            rows = [number for number, answer in enumerate(self._outputs) if answer.policy == policy]
            texts = [self._outputs[n].messages for n in rows], [self._outputs[n].response for n in rows]
            drift[policy] = self._drift(*texts, logits_MK[rows], [part[rows] for part in features])
        return drift

    # What a reader must know.

    def _notes(self, evaluations: Sequence[CostEvaluation]) -> list[str]:
        notes = []
        for folder in self.folders:
            if Reference.read(folder) is None:
                notes.append(
                    f"{folder} has no {FILE}: drift cannot be told. It is of an older version, or of elsewhere; make "
                    "it again with stage=cost"
                )
            if (known := self._known_split(folder)) is not None:
                notes.append(
                    f"These rows are the {known} data of {folder}: figures are too good, and a threshold chosen on "
                    "them is not certified for new rows. Evaluate on rows that it has never seen: data.test=FILE"
                )
        for one in evaluations:
            if one.unsafe_N.all() or not one.unsafe_N.any():
                only = "Unsafe" if one.unsafe_N.any() else "Safe"
                notes.append(f"Every row is {only} for {one.name}: what compares both classes is left out (–)")
        for note in notes:
            warnings.warn(note, InputWarning, stacklevel=2)
        return notes

    def _known_split(self, folder: str) -> str | None:
        """``train`` or ``validation`` where the cost model's record says that it was made with these very rows."""
        record = artifacts.read_record(Path(folder)) or {}
        known, mine, split = record.get("data", {}), self.source.hashes(), self.source.split
        for name in ("train", "validation"):
            if name in known and known[name] == mine.get(split):
                return name
        # A share of the training file, or a generated world: the split is known by its name alone.
        shared = split not in mine and any(known.get(name) == value for name, value in mine.items())
        return split if shared and split != "test" else None

    def _hashes(self) -> dict[str, str]:
        found = {f"data {name}": digest for name, digest in self.source.hashes().items()}
        found |= {f"cost model {folder}": artifacts.fingerprint_of(folder) for folder in self.folders}
        if self.outputs is not None:
            found["outputs"] = hashlib.sha256(Path(self.outputs).expanduser().read_bytes()).hexdigest()
        return found
