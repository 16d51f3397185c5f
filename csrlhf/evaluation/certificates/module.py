"""Stage ``certify``: a policy responds to prompts that nothing knows, and a certificate says what follows.

``responses -> cost model -> statements -> certificate.json, certificate.html``. With ``certify.outputs`` nothing is
generated: kept responses are certified again, to the same digits, or with labels that have come since.

A batch is kept as soon as it is answered, and ``resume=true`` goes on behind what is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from csrlhf.constraints.base import Constraint
from csrlhf.constraints.set import Constraints
from csrlhf.data.seen import CERTIFY, Seen, SeenBefore, candidate_of
from csrlhf.data.source import Oracle
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.journal import JournalModule
from csrlhf.evaluation.answers.records import Answer, answers_hash, write_answers
from csrlhf.evaluation.certificates.answering import (
    AnswerSpec,
    BestOfN,
    DecodeSpec,
    Plain,
    kept_answer,
)
from csrlhf.evaluation.certificates.audit_labels import check_label_files
from csrlhf.evaluation.certificates.certificate import Evidence, columns_of, rate_threshold, without_tautologies
from csrlhf.evaluation.certificates.data import CertificationDataModule, read_kept
from csrlhf.evaluation.certificates.document import (
    ANSWERS,
    certificate_document,
    certificate_metrics,
    write_certificate,
)
from csrlhf.evaluation.certificates.identities import check_judge, check_models, models_record
from csrlhf.evaluation.certificates.label_order import KEY, OrderFile, design_of, new_design, order_of
from csrlhf.evaluation.certificates.multiplier_sources import Reading, read_multipliers
from csrlhf.evaluation.certificates.page import print_certificate
from csrlhf.evaluation.settings import CertifySettings
from csrlhf.generation.decoder import identity_of
from csrlhf.generation.sampler import Sampler
from csrlhf.generation.settings import thresholds_of
from csrlhf.models.loading import load_tokenizer, model_identity
from csrlhf.models.settings import ChatSettings
from csrlhf.runs import artifacts
from csrlhf.scorers.base import COST, REWARD
from csrlhf.scorers.build import check as check_scorer
from csrlhf.types import PromptBatch


class CertificationModule(JournalModule):
    """Runs once over the certification prompts; trains nothing."""

    def __init__(
        self,
        inputs: Mapping[str, Any],
        sampler: Sampler,
        constraints: Mapping[str, Constraint],
        settings: CertifySettings,
        seed: int = 0,
        work: str | None = None,
        chat: ChatSettings | None = None,
    ) -> None:
        """Keep the parts; models are loaded in ``configure_model``.

        Args:
            inputs: folders ``ppo``, the policy, and ``cost``, one or several cost models.
            sampler: how responses are drawn; a part of what is certified.
            constraints: by name, one per output of the cost model.
            settings: the group ``certify``.
            seed: of sampling.
            work: folder where responses are kept as soon as they are there.
            chat: how conversations are written; None as the policy's folder has it.
        """
        super().__init__()
        self.inputs, self.sampler, self.seed, self.chat = inputs, sampler, seed, chat
        self.constraints = Constraints(constraints)
        self.settings, self.reward, self.outputs = settings, settings.reward, settings.outputs
        given = settings.lambda_from
        self.lambda_from: list[str] = [given] if isinstance(given, str) else list(given or ())
        self.decode = DecodeSpec(settings.decode, settings.n, settings.rule, settings.threshold, settings.refusal)
        for key, given, role in (
            ("inputs.cost", inputs["cost"], COST),
            ("certify.judge", settings.judge, COST),
            ("certify.reward", self.reward, REWARD),
        ):
            check_scorer(key, given, role)
        if self.outputs is None:
            self.decode.check_reward(self.reward)
            names = list(self.constraints.names) if settings.judge is None else None
            self.decode.check_candidates(names, sampler.greedy)
            check_judge(settings.judge, inputs["cost"], settings.decode)
        self.final_metrics: dict[str, float] = {}
        self.document: dict[str, Any] = {}
        self.collected: list[Answer] = []
        self.work, self.policy = work, Path(inputs["ppo"]).resolve().name  # the policy's name is in ids
        self._about: dict[str, Any] = {}
        self._multipliers: dict[str, Reading] = {}
        self._before = SeenBefore()

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The policy's."""
        return load_tokenizer(self.inputs["ppo"], self.chat)

    @property
    def data(self) -> CertificationDataModule:
        """Whose prompts these are."""
        return self.trainer.datamodule  # type: ignore[attr-defined,no-any-return]  # Lightning attaches it

    @property
    def oracle(self) -> Oracle | None:
        """The judge of a generated world's own prompts."""
        return self.data.source.oracle if self.data.generated else None

    def setup(self, stage: str) -> None:
        """Read what tells of λ*, labels, and what was seen before: none of it must surface once all is answered."""
        check_label_files(self.settings.labels)
        if self.settings.labels is not None and self.constraints.kinds:
            name = next(iter(self.constraints.kinds))
            raise UserError(
                f"constraints.{name}.where: labels are of all responses, and this constraint is about some; set "
                f"constraints.{name}.where=null and certify on a prompt file of such prompts alone (certify.prompts)"
            )
        self._multipliers = read_multipliers(Path(self.inputs["ppo"]), self.lambda_from, self.constraints.names)
        if self.data.looks:
            self._before = self.data.seen_before(*self._candidate(), self.settings.num_runs)

    def _candidate(self) -> tuple[str, int]:
        """Policy and way of decoding, with the seed of the draws, before a model is loaded."""
        if self.outputs is not None:
            about = read_kept(self.outputs)
            return candidate_of(about["policy"], about["decode"]["sha256"]), int(about["seed"])
        identity = None
        if self.decode.decode == "best_of_n":  # what the decoder will say of itself
            specs = {"policy": self.inputs["ppo"], "reward": self.reward, "cost": self.inputs["cost"]}
            limits = thresholds_of(self.decode.threshold, self.constraints.names)
            identity = identity_of(specs, self.decode.rule, self.decode.n, limits, self.sampler, self.chat)
        decoding = self.decode.record(self.sampler, self.seed, identity, self.chat)["sha256"]
        return candidate_of(model_identity(str(self.inputs["ppo"])), decoding), self.seed

    def configure_model(self) -> None:
        """Load policy and scorers, once; none for responses that are kept."""
        if self.outputs is None and not hasattr(self, "decoder"):
            cost, judge, names = self.inputs["cost"], self.settings.judge, tuple(self.constraints.names)
            models = self.inputs["ppo"], cost, judge, names, self.reward
            spec = AnswerSpec(*models, self.sampler, self.seed, self.chat)
            self.decoder = Plain(spec) if self.decode.decode == "plain" else BestOfN(spec, self.decode)
            if self.work is not None:
                self.decoder.keep_in(Path(self.work) / artifacts.KEPT)

    def on_test_start(self) -> None:
        """Looks at what a killed run has kept, and whether it is of these models, prompts and settings."""
        if self.outputs is None:
            self._about = self._record()
            self.open_journal(self._about)

    def test_step(self, prompts: PromptBatch | torch.Tensor, batch_idx: int) -> None:
        """Answer a chunk of prompts; kept responses need none."""
        if not isinstance(prompts, PromptBatch):
            return
        index = prompts.index_B.tolist()

        def answered() -> list[Answer]:
            spoken = self.decoder.answer(prompts, self.device)
            return [
                kept_answer(self.policy, number, row, said, self.constraints, self.oracle)
                for number, row, said in zip(index, prompts.rows, spoken, strict=True)
            ]

        self.batch(self.policy, index, len(self.data.rows["test"]), answered)

    def on_test_epoch_end(self) -> None:
        """The certificate, its figures, and the verdict on the terminal."""
        if self.outputs is None:
            self.collected = self.gathered(self.policy)
            digest = answers_hash(self.collected)
        else:
            self.collected = self.data.kept
            self._about = read_kept(self.outputs)
            check_models(self._about, self.outputs, self.inputs, self.settings.judge)
            digest = self._about["sha256"]
        found = self.data.found
        assert found is not None  # `setup` has read them
        try:
            columns = columns_of(self.constraints, self.collected)
            untouched = found.record() | self._before.record(_made(Path(self.inputs["ppo"])))
            evidence = Evidence(self.collected, digest, self._about, columns, untouched)
            self.document = certificate_document(evidence, self.settings, self._multipliers)
        except UserError as error:
            raise UserError(f"{error}{self._rescued()}") from error
        self.final_metrics = certificate_metrics(self.document)
        self.log_dict(self.final_metrics)
        if self.trainer.is_global_zero:
            print_certificate(self.document)

    def _rescued(self) -> str:
        """Fresh responses, kept where a call with better settings finds them; says how."""
        if self.outputs is not None or self.work is None:
            return ""
        path = Path(self.work) / ANSWERS
        if self.trainer.is_global_zero:
            write_answers(path, self.collected, self._about)
        return f"; the responses are kept, and need not be drawn again: certify.outputs={path}"

    def _thresholds(self) -> dict[str, float]:
        """Of the constraints that labels can be held against."""
        limits = dict(zip(self.constraints.names, map(rate_threshold, self.constraints), strict=True))
        return {name: limit for name, limit in limits.items() if limit is not None}

    def _record(self) -> dict[str, Any]:
        """Where responses come from: what must be the same for the certificate to cover a policy."""
        return models_record(self.inputs, self.reward, self.settings.judge) | {
            "kind": "certification",
            "seed": self.seed,
            "prompts": self.data.prompts_record(),
            "decode": self.decode.record(self.sampler, self.seed, self.decoder.identity, self.chat),
            KEY: self._design(),
        }

    def _design(self) -> dict[str, float]:
        """Which responses are to be labelled, fixed before there is any."""
        limits, settings = list(self._thresholds().values()), self.settings
        design = new_design(settings.audit, len(self.data.rows["test"]), limits, settings.confidence)
        return {"rate": design.rate, "score": design.score}

    @property
    def seen(self) -> Seen:
        """The prompts of this certificate: others on them are told of it."""
        prompts = [answer.messages for answer in self.collected]
        decoding, policy = self._about["decode"]["sha256"], {self.policy: str(self.inputs["ppo"])}
        return Seen(CERTIFY, policy, prompts, decoding, int(self._about["seed"]))

    def export(self, folder: Path) -> None:
        """Write responses, certificate and page."""
        design = design_of(self.settings.audit, self._about)
        columns = without_tautologies(columns_of(self.constraints, self.collected), self._about)
        order = OrderFile(
            order_of(self.collected, self._about["seed"], design),
            self.settings.confidence,
            self.settings.num_runs,
            self._thresholds(),
            sum(not column.costs.by_construction for column in columns.values()),
            self.settings.audit.fixed,
        )
        self.report = write_certificate(folder, self.document, self.collected, self._about, order, self.outputs)


def _made(policy: Path) -> str | None:
    """When a policy was made, as far as its record says."""
    record = artifacts.read_record(policy) if policy.is_dir() else None
    return (record or {}).get("created")
