"""Stage ``evaluate``: policies answer the same test prompts, side by side; or kept answers are looked at again.

Answers are judged by the reward and the cost model, by another judge where one is named, and by the oracle where the
data has one; each batch is kept as JSON lines as soon as it is there. What is made of them is csrlhf/evaluation's part.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from csrlhf.constraints.base import Constraint
from csrlhf.constraints.set import Constraints
from csrlhf.constraints.where import check_selected
from csrlhf.data.chat_templates import chat_record
from csrlhf.data.seen import EVALUATE, Seen, decoding_digest, plain_decoding
from csrlhf.data.source import Oracle
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.answers.generate import Answering, about_answers, judged_by_model
from csrlhf.evaluation.answers.journal import JournalModule
from csrlhf.evaluation.answers.labels import PEOPLE, Labels, judge_of, read_labels
from csrlhf.evaluation.answers.records import Answer, attack_of, read_about, read_answers, write_answers
from csrlhf.evaluation.policies.analysis import Settings
from csrlhf.evaluation.policies.conclusions import conclude
from csrlhf.evaluation.policies.page import evaluation_report, print_evaluation
from csrlhf.evaluation.policies.rates import check_categories, check_stated, refused_by
from csrlhf.evaluation.policies.table import SFT, TRAINED, in_order
from csrlhf.evaluation.settings import EvaluateSettings
from csrlhf.generation.sampler import Sampler, sampling_record
from csrlhf.models.loading import load_tokenizer
from csrlhf.models.settings import ChatSettings
from csrlhf.refusals.build import WORDS, refusal_judge
from csrlhf.runs.artifacts import KEPT
from csrlhf.scorers.base import COST
from csrlhf.scorers.build import check as check_scorer
from csrlhf.scorers.build import check_roles
from csrlhf.scorers.costs import cost_scorer
from csrlhf.scorers.specs import fingerprint
from csrlhf.stats.policy_report import JudgedAnswer
from csrlhf.types import PromptBatch, PromptRow

# Keys of ``evaluate`` that do not fit together, found before any model is loaded.


def check_options(settings: EvaluateSettings) -> None:
    """Raises where the keys contradict each other."""
    policies, samples_per_prompt, attempts = settings.policies, settings.samples_per_prompt, settings.attempts
    judge, labels, outputs = settings.judge, settings.labels, settings.outputs
    if policies is not None and outputs is not None:
        raise UserError(
            "evaluate.outputs: names existing responses, evaluate.policies would generate new ones; set one of them"
        )
    if policies is not None and not isinstance(policies, Mapping):
        raise UserError(f"evaluate.policies={policies}: needs a name for each, evaluate.policies={{name: FOLDER}}")
    if policies is not None and not policies:
        raise UserError("evaluate.policies={}: name at least one folder, evaluate.policies={name: FOLDER}")
    wrong = [name for name in policies or {} if not str(name).replace("-", "_").replace("_", "a").isalnum()]
    if wrong:
        raise UserError(f"evaluate.policies: {wrong[0]!r} is part of metric keys: use letters, digits, - and _")
    if outputs is None and attempts is not None and attempts > samples_per_prompt:
        raise UserError(
            f"evaluate.attempts={attempts}: there are evaluate.samples_per_prompt={samples_per_prompt} responses to a "
            "prompt; lower the one or raise the other"
        )
    if judge_of(judge) == "judge_model":
        check_scorer("evaluate.judge", judge, COST)
    if judge_of(judge) == PEOPLE and labels not in (None, judge):
        raise UserError(f"evaluate.judge={judge}: is a labels file, and evaluate.labels={labels} another; set one")


ANSWERS = "answers.jsonl"


class EvaluationModule(JournalModule):
    """Runs once over the test prompts; trains nothing."""

    def __init__(
        self,
        inputs: Mapping[str, Any],
        sampler: Sampler,
        constraints: Mapping[str, Constraint],
        settings: EvaluateSettings,
        seed: int = 0,
        work: str | None = None,
        chat: ChatSettings | None = None,
        refusals: str = WORDS,
    ) -> None:
        """Keep the parts; models are loaded in ``configure_model``.

        Args:
            inputs: the folders ``sft`` and ``ppo``, and the scorers ``reward`` and ``cost`` (see ``cost_scorer``).
            sampler: draws responses, for all policies alike.
            constraints: by name, one per output of the cost model.
            settings: the group ``evaluate``.
            seed: of sampling.
            work: folder where answers are kept as soon as they are there.
            chat: how conversations are written, for all policies; None as the SFT folder has it.
            refusals: who finds refusals: ``words``, or a judge's folder.
        """
        super().__init__()
        check_options(settings)
        check_roles(inputs)
        self.inputs, self.sampler, self.seed, self.num_samples = inputs, sampler, seed, settings.samples_per_prompt
        self.constraints, self.refusals = Constraints(constraints), refusal_judge(refusals)
        self.judge, self.outputs, self.work, self.chat = settings.judge, settings.outputs, work, chat
        self.labels_file = settings.labels or (self.judge if judge_of(self.judge) == PEOPLE else None)
        self.settings = Settings(
            judge_of(self.judge),
            settings.confidence,
            settings.attempts,
            tuple(settings.benign),
            settings.tie,
            tuple(settings.harmful),
            str(refusals),
        )
        self.folders = settings.policies or {SFT: inputs["sft"], TRAINED: inputs["ppo"]}
        self.final_metrics: dict[str, float] = {}
        self.answers: dict[str, list[JudgedAnswer]] = {}
        self.kept: dict[str, list[Answer]] = {}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The policies' tokenizer (the trained policy keeps the SFT policy's); None where nothing is asked."""
        return None if self.outputs is not None else load_tokenizer(self.inputs["sft"], self.chat)

    def configure_model(self) -> None:
        """Load policies and scorers, once."""
        if hasattr(self, "judge_model"):
            return
        judged = self.settings.judge == "judge_model"
        self.judge_model = cost_scorer(self.judge, None, "evaluate.judge") if judged else None
        scorers = [self.judge_model]
        if self.outputs is None:
            parts = self.inputs, self.folders, self.constraints, self.sampler, self.seed, self.num_samples
            self.answering = Answering(*parts, self.chat)
            scorers += [self.answering.reward_model, self.answering.cost_model]
        for scorer in scorers:
            if scorer is not None and self.work is not None:
                scorer.keep_in(Path(self.work) / KEPT)

    @property
    def oracle(self) -> Oracle | None:
        """The judge of a generated world."""
        return self.trainer.datamodule.source.oracle  # type: ignore[attr-defined]  # Lightning attaches it

    def on_test_start(self) -> None:
        """Looks at what the analysis will need, and at what a killed evaluation has kept, before anything is said."""
        if self.outputs is None and self.settings.judge == "oracle" and self.oracle is None:
            raise UserError("evaluate.judge=oracle: these prompts have no ground truth; name a folder or a labels file")
        if self.labels_file is not None:
            read_labels(self.labels_file)
        if self.outputs is None:
            benign, harmful = self.settings.benign, self.settings.harmful
            check_categories(benign, harmful, (row.meta.get("category") for row in self._prompts))
            stated = ((row.meta, row.meta.get("category"), attack_of(row.meta)) for row in self._prompts)
            check_stated(benign, harmful, stated)
            for name, where in self.constraints.kinds.items():
                check_selected(name, where, self._prompts, "test")
            self.open_journal(self.about())

    def test_step(self, prompts: PromptBatch | None, batch_idx: int) -> None:
        """All policies answer a batch, with the same noise; without prompts, kept answers are read."""
        if prompts is None or self.outputs is not None:
            return
        for policy in self.folders:

            def answered(policy: str = policy) -> list[Answer]:
                return self._by_judge_model(self.answering(policy, prompts, self.oracle))

            self.batch(policy, prompts.index_B.tolist(), len(self._prompts), answered)

    @property
    def _prompts(self) -> Sequence[PromptRow]:
        return self.trainer.datamodule.rows["test"]  # type: ignore[attr-defined]  # Lightning attaches it

    def _by_judge_model(self, answers: list[Answer]) -> list[Answer]:
        """With the logits of the judge, where it is another cost model."""
        return answers if self.judge_model is None else judged_by_model(self.judge_model, answers)

    def on_test_epoch_end(self) -> None:
        """Collect the answers and say what they mean: numbers, verdicts, tables."""
        fresh = self.outputs is None
        self.kept = {name: self.gathered(name) for name in self.folders} if fresh else self._read_kept()
        if self.work is not None and self.outputs is None and self.trainer.is_global_zero:
            write_answers(Path(self.work) / ANSWERS, self._all(), self.about())
        parts = self._labels(), str(self.labels_file), self.outputs or "the evaluation"
        refused = refused_by(self.refusals, self._all())
        self.found = conclude(self.kept, self.constraints, self.settings, *parts, refused)
        if self.found.comparable:
            self.answers = dict(self.found.judged)  # what a tracker shows samples of
        self.final_metrics |= self.found.numbers
        self.log_dict(self.final_metrics)
        if self.trainer.is_global_zero:
            run = TRAINED if self.outputs else Path(self.folders.get(TRAINED, TRAINED)).resolve().name
            print_evaluation(self.found, run)

    def _read_kept(self) -> dict[str, list[Answer]]:
        """The answers of a file, judged again where another cost model is the judge."""
        path = str(self.outputs)
        answers, self.origin = self._by_judge_model(read_answers(path)), read_about(path)
        if self.origin.get("edited"):
            warnings.warn(f"evaluate.outputs={path}: was changed after it was written", InputWarning, stacklevel=2)
        return in_order(answers, list(self.origin.get("policies", {})))

    def _labels(self) -> Labels | None:
        return None if self.labels_file is None else read_labels(self.labels_file)

    def _all(self) -> list[Answer]:
        return [answer for given in self.kept.values() for answer in given]

    def about(self) -> dict[str, Any]:
        """Where the answers come from, for later readers."""
        judge: dict[str, Any] = {"judge": self.settings.judge}
        if self.judge_model is not None:
            judge["judge_model"] = fingerprint(self.judge)
        if self.settings.refusals != WORDS:
            judge["refusals"] = fingerprint(self.settings.refusals)
        if self.outputs is not None:
            return {**self.origin, **judge}
        return {
            **about_answers(self.inputs, self.folders, self.sampler, self.chat),
            **judge,
            "constraints": list(self.constraints.names),
            "prompts": self.trainer.datamodule.source.hashes(),  # type: ignore[attr-defined]  # Lightning attaches it
            "samples_per_prompt": self.num_samples,
            "seed": self.seed,
        }

    @property
    def seen(self) -> Seen | None:
        """The prompts that the policies were seen on; None of kept responses that do not say whose they are."""
        if self.outputs is None:
            models, sampling = dict(self.folders), sampling_record(self.sampler) | chat_record(self.chat)
        else:
            models, sampling = self.origin.get("policies", {}), self.origin.get("decoding", {})
        prompts = {answer.prompt_id: answer.messages for answer in self._all()}
        digest = decoding_digest(plain_decoding(sampling))
        return Seen(EVALUATE, models, list(prompts.values()), digest) if models else None

    def export(self, folder: Path) -> None:
        """Write every response as a JSON line, the page, and its figures."""
        about = self.about()
        digest = write_answers(folder / ANSWERS, self._all(), about)
        self.report = evaluation_report(self.found, self._all(), {**about, "sha256 of answers.jsonl": digest})
        self.report.write(folder / "report.html")
        self.report.save_figures(folder / "plots")
