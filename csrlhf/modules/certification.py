"""Stage ``certify``: a policy answers prompts that nothing knows, and a certificate says what follows from its answers.

``answers -> cost model -> statements -> certificate.json, certificate.html``. With ``certify.outputs`` nothing is
generated: kept answers are certified again, to the same digits, or with labels that have come since.

A batch is kept as soon as it is answered, and ``resume=true`` goes on behind what is kept.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from transformers import PreTrainedTokenizerBase

from csrlhf.artifacts import write_json
from csrlhf.constraints.base import Constraint, Constraints
from csrlhf.data.source import Oracle
from csrlhf.decoding.candidates import check_rule
from csrlhf.errors import UserError
from csrlhf.evaluation.answers import Answer, about_path, write_answers
from csrlhf.evaluation.audit_labels import LabelSpec, label_order
from csrlhf.evaluation.certificate import Evidence, Settings, make_certificate
from csrlhf.evaluation.certificate_numbers import certificate_metrics, versions
from csrlhf.evaluation.certificate_page import print_certificate, write_page
from csrlhf.evaluation.columns import columns_of
from csrlhf.evaluation.kept import check_models, read_kept
from csrlhf.evaluation.kept_batches import KeptBatches
from csrlhf.evaluation.multiplier_sources import Reading, diagnostic, read_multipliers
from csrlhf.models.loading import load_tokenizer
from csrlhf.modules.certification_data import CertificationDataModule
from csrlhf.modules.certified_answers import kept_answer, models_record
from csrlhf.modules.certified_decoding import BestOfN, Plain, decoding_record
from csrlhf.modules.ranks import gather_lists
from csrlhf.rollout.sampler import Sampler
from csrlhf.types import PromptBatch

ANSWERS = "answers.jsonl"
DECODES = ("plain", "best_of_n")


class CertificationModule(LightningModule):
    """Runs once over the certification prompts; trains nothing."""

    def __init__(
        self,
        inputs: Mapping[str, Any],
        sampler: Sampler,
        constraints: Mapping[str, Constraint],
        reward: str | None = None,
        outputs: str | None = None,
        confidence: float = 0.95,
        num_runs: int = 1,
        mean_bound: str = "betting",
        labels: LabelSpec = None,
        num_labels: int | None = None,
        truth: str = "audit",
        decode: str = "plain",
        n: int = 8,
        rule: str = "best",
        threshold: float = 0.0,
        refusal: str = "",
        lambda_from: str | Sequence[str] | None = None,
        seed: int = 0,
        kept: str | None = None,
    ) -> None:
        """Keep the parts; models are loaded in ``configure_model``.

        Args:
            inputs: folders ``ppo``, the policy, and ``cost``, one or several cost models.
            sampler: how answers are drawn; a part of what is certified.
            constraints: by name, one per output of the cost model.
            reward: folder of a reward model; what ``rule=best`` chooses by, a figure beside the certificate otherwise.
            outputs: an ``answers.jsonl`` of an earlier certificate.
            confidence: 1 - δ of the whole certificate.
            num_runs: runs of which this policy is the best by such figures.
            mean_bound: which bound decides on a mean cost.
            labels: a file of judgements, ``oracle``, or one of these by constraint.
            num_labels: answers that an oracle labels.
            truth: how labels become the true unsafe rate.
            decode: ``plain``, or ``best_of_n`` with abstention.
            n: candidates per prompt.
            rule: ``best`` or ``first``.
            threshold: the highest cost logit that is accepted.
            refusal: what is said where no candidate is accepted.
            lambda_from: folders that tell of λ*: of a sweep, of dual runs.
            seed: of sampling.
            kept: folder of the batches that are done, where a run that was killed goes on; None keeps none.
        """
        super().__init__()
        if decode not in DECODES:
            raise UserError(f"certify.decode={decode}: must be {' or '.join(DECODES)}")
        self.inputs, self.sampler, self.seed = inputs, sampler, seed
        self.constraints = Constraints(constraints)
        self.settings = Settings(confidence, num_runs, mean_bound, labels, num_labels, truth)
        self.reward, self.outputs = reward, outputs
        self.lambda_from = [lambda_from] if isinstance(lambda_from, str) else list(lambda_from or ())
        self.best_of_n = {"n": n, "rule": check_rule(rule, "certify.rule"), "threshold": threshold, "refusal": refusal}
        self.decode = decode
        if decode == "best_of_n" and rule == "best" and reward is None and outputs is None:
            raise UserError(
                "certify.rule=best: chooses by a reward model, and certify.reward is null; type certify=best_of_n, "
                "which takes the one in the artifacts folder, or set certify.rule=first"
            )
        self.final_metrics: dict[str, float] = {}
        self.document: dict[str, Any] = {}
        self.collected: list[Answer] = []
        self.kept = None if kept is None else Path(kept)
        self._batches = KeptBatches(self.kept)
        self._drawn: list[tuple[int, Answer]] = []
        self._about: dict[str, Any] = {}
        self._multipliers: dict[str, Reading] = {}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's."""
        return load_tokenizer(self.inputs["ppo"])

    @property
    def data(self) -> CertificationDataModule:
        """Whose prompts these are."""
        return self.trainer.datamodule  # type: ignore[attr-defined,no-any-return]  # Lightning attaches it

    @property
    def name(self) -> str:
        """The policy's, in ids of answers."""
        return Path(self.inputs["ppo"]).resolve().name

    @property
    def oracle(self) -> Oracle | None:
        """The judge of a generated world's own prompts."""
        return self.data.source.oracle if self.data.generated else None

    def setup(self, stage: str) -> None:
        """Read what tells of λ*: a source that is missing must not show once everything has been answered."""
        self._multipliers = read_multipliers(Path(self.inputs["ppo"]), self.lambda_from, self.constraints.names)

    def configure_model(self) -> None:
        """Load policy and scorers, once; none for answers that are kept."""
        if self.outputs is None and not hasattr(self, "decoder"):
            cost, names = self.inputs["cost"], self.constraints.names
            if self.decode == "plain":
                self.decoder = Plain(self.inputs["ppo"], cost, names, self.reward, self.sampler, self.seed)
            else:
                self.decoder = BestOfN(
                    self.inputs["ppo"], cost, names, self.reward, self.sampler, self.seed, **self.best_of_n
                )

    def test_step(self, prompts: PromptBatch | torch.Tensor, batch_idx: int) -> None:
        """Answer a chunk of prompts, unless an earlier process has; kept answers need none."""
        if not isinstance(prompts, PromptBatch):
            return
        index = prompts.index_B.tolist()
        answers = self._batches.find(index, prompts.rows)
        if answers is None:
            spoken = self.decoder.answer(prompts, self.device)
            answers = [
                kept_answer(self.name, number, row, said, self.constraints, self.oracle)
                for number, row, said in zip(index, prompts.rows, spoken, strict=True)
            ]
            self._batches.add(index, answers)
        self._drawn += zip(index, answers, strict=True)

    def on_test_epoch_end(self) -> None:
        """The certificate, its figures, and the verdict on the terminal."""
        if self.outputs is None:
            in_order = sorted(gather_lists(self, self._drawn), key=lambda item: item[0])
            self.collected = [answer for _, answer in in_order]
            self._about = self._record()
            with tempfile.TemporaryDirectory() as folder:
                digest = write_answers(Path(folder) / ANSWERS, self.collected, self._about)
        else:
            self.collected = self.data.kept
            self._about = read_kept(self.outputs)
            check_models(self._about, self.outputs, self.inputs)
            digest = self._about["sha256"]
        try:
            self.document = self._certificate(digest)
        except UserError as error:
            raise UserError(f"{error}{self._rescued()}") from error
        self.final_metrics = certificate_metrics(self.document)
        self.log_dict(self.final_metrics)
        if self.trainer.is_global_zero:
            print_certificate(self.document)

    def _certificate(self, digest: str) -> dict[str, Any]:
        found = self.data.found
        assert found is not None  # `setup` has read them
        untouched = {
            "compared": list(found.compared), "unchecked": list(found.unchecked), "nearly_known": found.nearly_known,
        }  # fmt: skip
        evidence = Evidence(
            self.collected, digest, self._about, columns_of(self.constraints, self.collected), untouched
        )
        document = make_certificate(evidence, self.settings, versions())
        return document | {"exact_penalty": self._diagnostic(document)}

    def _rescued(self) -> str:
        """Fresh answers, kept where a call with better settings finds them; says how."""
        if self.outputs is not None or self.kept is None:
            return ""
        path = self.kept.parent / ANSWERS
        if self.trainer.is_global_zero:
            write_answers(path, self.collected, self._about)
        return f"; the answers are kept, and need not be drawn again: certify.outputs={path}"

    def _record(self) -> dict[str, Any]:
        """Where answers come from: what has to be the same for the certificate to speak of a policy."""
        return models_record(self.inputs, self.reward) | {
            "kind": "certification",
            "seed": self.seed,
            "prompts": self.data.prompts_record(),
            "decode": decoding_record(
                self.decode, self.sampler, self.seed, self.best_of_n["refusal"], self.decoder.identity
            ),
        }

    def _diagnostic(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        rewards = [answer.reward for answer in self.collected if answer.reward is not None]
        certified = {name: one["verdict"] == "CERTIFIED" for name, one in document["constraints"].items()}
        span = max(rewards) - min(rewards) if rewards else None
        return diagnostic(self._multipliers, certified, span)

    def export(self, folder: Path) -> None:
        """Write the answers, the order in which to label them, the certificate and its page."""
        path = folder / ANSWERS
        if self.outputs is None:
            write_answers(path, self.collected, self._about)
        else:  # to the letter: their hash stands in the certificate
            shutil.copyfile(Path(self.outputs).expanduser(), path)
            shutil.copyfile(about_path(Path(self.outputs).expanduser()), about_path(path))
        order = label_order([answer.id for answer in self.collected], self._about["seed"])
        (folder / "label_order.txt").write_text("".join(f"{identifier}\n" for identifier in order), encoding="utf-8")
        write_json(folder / "certificate.json", self.document)
        write_page(folder / "certificate.html", self.document, self.collected)
