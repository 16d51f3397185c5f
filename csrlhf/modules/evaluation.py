"""Stage ``evaluate``: policies answer the same test prompts, side by side; or kept answers are looked at again.

Answers are judged by the reward and the cost model, by another judge where one is named, and by the oracle where the
data has one; all of them are kept as JSON lines. What is made of them is csrlhf/evaluation's part.

Legend: B sequences, K constraints.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from csrlhf import __version__
from csrlhf.artifacts import fingerprint_of
from csrlhf.certify.bounds import check_confidence
from csrlhf.constraints.base import Constraint, Constraints
from csrlhf.data.prompt_sets import PROMPT_ID
from csrlhf.data.source import Oracle
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.analysis import Settings, analyse
from csrlhf.evaluation.answers import Answer, read_about, read_answers, with_id, write_answers
from csrlhf.evaluation.attacks import attack_of
from csrlhf.evaluation.categories import BENIGN
from csrlhf.evaluation.evaluation_report import evaluation_report
from csrlhf.evaluation.judging import JUDGE_LOGITS, PEOPLE, judge_of
from csrlhf.evaluation.keys import flat, prefix_of
from csrlhf.evaluation.labels import Labels, read_labels
from csrlhf.evaluation.scored import SFT, TRAINED, in_order, judged_answers, main_policy, prompt_id_of
from csrlhf.evaluation.terminal import print_analysis
from csrlhf.metrics.policy_report import JudgedAnswer, policy_metrics
from csrlhf.metrics.policy_table import ConstraintVerdict, print_table
from csrlhf.models.cost_models import cost_scorer
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.text_scorer import TextScorer
from csrlhf.modules.ranks import gather_lists
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.ops.masking import sequence_sum
from csrlhf.ops.shaping import kl_k1
from csrlhf.rollout.sampler import Sampler
from csrlhf.types import PromptBatch, Rollout

TEST_NOISE = -2
"""Iteration number of the test's sampling noise: none of training's or validation's draws."""

ANSWERS = "answers.jsonl"


class EvaluationModule(LightningModule):
    """Runs once over the test prompts; trains nothing."""

    def __init__(
        self,
        inputs: Mapping[str, Any],
        sampler: Sampler,
        constraints: Mapping[str, Constraint],
        confidence: float = 0.95,
        seed: int = 0,
        policies: Mapping[str, str] | None = None,
        samples_per_prompt: int = 1,
        judge: str | None = None,
        labels: str | None = None,
        outputs: str | None = None,
        attempts: int | None = None,
        benign: Sequence[str] = BENIGN,
        tie: float = 0.0,
        work: str | None = None,
    ) -> None:
        """Keep the parts; models are loaded in ``configure_model``.

        Args:
            inputs: folders of the stages ``sft``, ``reward``, ``cost`` (one or several, see ``cost_scorer``), ``ppo``.
            sampler: draws responses, for all policies alike.
            constraints: by name, one per output of the cost model.
            confidence: of the verdict's one-sided bound and of every interval.
            seed: of sampling.
            policies: folders by name; None compares the SFT policy with the trained one.
            samples_per_prompt: answers of each policy to each prompt.
            judge: who says what is unsafe: None for the cost model, a folder of another one, ``oracle``, a labels file.
            labels: a file of people's judgements, which every automatic judge is compared with.
            outputs: kept answers to look at again; no policy answers anything.
            attempts: k of attack success at k; None for all answers to a prompt.
            benign: categories whose prompts are harmless.
            tie: rewards that differ by at most this much are equal.
            work: folder where answers are kept as soon as they are there.
        """
        super().__init__()
        self.inputs, self.sampler, self.seed, self.num_samples = inputs, sampler, seed, samples_per_prompt
        self.constraints = Constraints(constraints)
        self.confidence = check_confidence("evaluate.confidence", confidence)
        self.judge, self.outputs, self.work = judge, outputs, work
        self.labels_file = labels or (judge if judge_of(judge) == PEOPLE else None)
        self.settings = Settings(judge_of(judge), confidence, attempts, tuple(benign), tie)
        _check(policies, samples_per_prompt, attempts, judge, labels, outputs)
        self.folders = policies or {SFT: inputs["sft"], TRAINED: inputs["ppo"]}
        self.final_metrics: dict[str, float] = {}
        self.answers: dict[str, list[JudgedAnswer]] = {}
        self.kept: dict[str, list[Answer]] = {}
        self._judged: dict[str, list[tuple[int, Answer]]] = {name: [] for name in self.folders}

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The policies' tokenizer (the trained policy keeps the SFT policy's); None where nothing is asked."""
        return None if self.outputs is not None else load_tokenizer(self.inputs["sft"])

    def configure_model(self) -> None:
        """Load policies and scorers, once."""
        if hasattr(self, "policies"):
            return
        self.policies = nn.ModuleDict()
        if self.settings.judge == "judge_model":
            self.judge_model = TextScorer(str(self.judge))
        if self.outputs is None:
            loaded: dict[str, PreTrainedModel] = {}
            for folder in (self.inputs["sft"], *self.folders.values()):
                if folder not in loaded:
                    loaded[folder] = load_policy(folder)
            self.policies.update({name: loaded[folder] for name, folder in self.folders.items()})
            self.reference = loaded[self.inputs["sft"]]
            self.reward_model = TextScorer(self.inputs["reward"], outputs=("reward",))
            self.cost_model = cost_scorer(self.inputs["cost"], self.constraints.names)
            self.response_tokenizer = load_tokenizer(self.inputs["sft"])
            self._check_vocabularies()

    def _check_vocabularies(self) -> None:
        """Answers of all policies are drawn through one tokenizer: another one's ids would be other words."""
        mine = self.response_tokenizer.get_vocab()
        for name, folder in self.folders.items():
            if load_tokenizer(folder).get_vocab() != mine:
                raise UserError(
                    f"evaluate.policies.{name}={folder}: its tokenizer is not that of inputs.sft={self.inputs['sft']}, "
                    "the reference of the KL; evaluate it with an inputs.sft of its own family"
                )

    @property
    def oracle(self) -> Oracle | None:
        """The judge of a generated world."""
        return self.trainer.datamodule.source.oracle  # type: ignore[attr-defined]  # Lightning attaches it

    def on_test_start(self) -> None:
        """Looks at what the analysis will need, before anything is generated."""
        if self.outputs is None and self.settings.judge == "oracle" and self.oracle is None:
            raise UserError("evaluate.judge=oracle: these prompts have no ground truth; name a folder or a labels file")
        if self.labels_file is not None:
            read_labels(self.labels_file)

    def test_step(self, prompts: PromptBatch | None, batch_idx: int) -> None:
        """All policies answer a batch, with the same noise; without prompts, kept answers are read."""
        if prompts is None or self.outputs is not None:
            return
        for name, policy in self.policies.items():
            rollout = self.sampler(policy, self.response_tokenizer, prompts, self.seed, TEST_NOISE)  # type: ignore[arg-type]  # filled with causal models
            index = prompts.index_B.tolist()
            self._judged[name] += zip(index, self._judge(name, rollout, index), strict=True)

    @torch.no_grad()
    def _judge(self, policy: str, rollout: Rollout, index: Sequence[int]) -> list[Answer]:
        prompts, ended = [row.prompt for row in rollout.rows], rollout.ended_B.tolist()
        reward_B = self.reward_model.score(prompts, rollout.responses, ended)[:, 0]
        logits_BK = self.cost_model.score(prompts, rollout.responses, ended)
        cost_BK = self.constraints.costs(logits_BK)
        kl_B = sequence_sum(self._log_ratio(rollout), rollout.response_mask_BT)
        oracle, names = self.oracle, self.constraints.names
        answers = []
        for b, (row, response) in enumerate(zip(rollout.rows, rollout.responses, strict=True)):
            number, sample = divmod(index[b], self.num_samples)
            answer = Answer(
                id="",
                policy=policy,
                prompt_id=prompt_id_of(row, number),
                sample=sample,
                prompt=row.prompt if isinstance(row.prompt, str) else [dict(turn) for turn in row.prompt],
                response=response,
                ended=ended[b],
                category=row.meta.get("category"),
                attack=attack_of(row.meta),
                reward=float(reward_B[b]),
                cost_logits=dict(zip(names, logits_BK[b].tolist(), strict=True)),
                violations=dict(zip(names, cost_BK[b].tolist(), strict=True)),
                kl=float(kl_B[b]),
                oracle=None if oracle is None else asdict(oracle.judge(row, response)),
                meta={key: value for key, value in row.meta.items() if key != PROMPT_ID},
            )
            answers.append(with_id(answer))
        return self._by_judge_model(answers)

    @torch.no_grad()
    def _by_judge_model(self, answers: list[Answer]) -> list[Answer]:
        """With the logits of the judge, where it is another cost model."""
        if self.settings.judge != "judge_model" or not answers:
            return answers
        dialogues = zip(*((a.messages, a.response, a.ended) for a in answers), strict=True)
        logits = self.judge_model.score(*dialogues).tolist()
        names = self.judge_model.outputs
        return [
            replace(answer, meta={**answer.meta, JUDGE_LOGITS: dict(zip(names, row, strict=True))})
            for answer, row in zip(answers, logits, strict=True)
        ]

    def _log_ratio(self, rollout: Rollout) -> torch.Tensor:
        """Of the sampling policy, whose log-probs the sampler kept, to the untruncated SFT policy [B, T]."""
        end_id = int(self.response_tokenizer.eos_token_id)  # type: ignore[arg-type]  # the stubs allow lists
        logits = self.sampler.response_distribution(self.reference, rollout, end_id, truncate=False)
        return kl_k1(rollout.logprobs_BT, gather_logprobs(logits, rollout.response_ids_BT))

    def on_test_epoch_end(self) -> None:
        """Collect the answers and say what they mean: numbers, verdicts, tables."""
        self.kept = self._read_kept() if self.outputs is not None else self._collect()
        if self.work is not None and self.outputs is None and self.trainer.is_global_zero:
            write_answers(Path(self.work) / ANSWERS, self._all(), self.about())
        main = main_policy(self.kept)
        what = self.outputs or "the evaluation"
        judged = {name: judged_answers(given, self.constraints.names, what) for name, given in self.kept.items()}
        scored = all(a.reward is not None and a.cost_logits for given in judged.values() for a in given)
        if scored and len({len(given) for given in judged.values()}) == 1:
            self.answers = judged  # what a tracker shows samples of
        columns = {name: policy_metrics(given) for name, given in judged.items()}
        verdicts = {name: self.verdicts(name) for name in judged}
        for name, column in columns.items():
            self.final_metrics |= {f"{prefix_of(name, main)}/{key}": value for key, value in column.items()}
        for name in [main] if main else self.kept:
            self.final_metrics |= _verdict_metrics(prefix_of(name, main), verdicts[name])
        self.analysis = analyse(self.kept, self.settings, self._labels(), str(self.labels_file))
        self.final_metrics |= flat(self.analysis, main)
        self.log_dict(self.final_metrics)
        if self.trainer.is_global_zero:
            self._print(columns, verdicts, main)

    def _print(
        self,
        columns: Mapping[str, Mapping[str, float]],
        verdicts: Mapping[str, list[ConstraintVerdict]],
        main: str | None,
    ) -> None:
        print_analysis(self.analysis)
        if main is None:
            print_table(columns, [verdict for given in verdicts.values() for verdict in given])
        else:
            run = TRAINED if self.outputs else Path(self.folders[TRAINED]).resolve().name
            print_table({"SFT": columns[SFT], run: columns[TRAINED]}, verdicts[TRAINED])

    def _collect(self) -> dict[str, list[Answer]]:
        """The answers of all processes, in the order of the prompts."""
        found = {}
        for name, judged in self._judged.items():
            found[name] = [answer for _, answer in sorted(gather_lists(self, judged), key=lambda item: item[0])]
        return found

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

    def verdicts(self, policy: str) -> list[ConstraintVerdict]:
        """One per constraint, on the test prompts that are drawn like the training prompts.

        Held-out framings are another distribution than the one the threshold speaks of: the table shows them, the
        verdict leaves them out. Of several answers to a prompt it takes the first: the bound is for independent ones.
        """
        scored = [answer for answer in self.kept[policy] if answer.cost_logits and answer.sample == 0]
        answers = [answer for answer in scored if answer.meta.get("framing_seen", True)] or scored
        if not answers:
            return []
        names = self.constraints.names
        logits_BK = torch.tensor([[a.cost_logits[name] for name in names] for a in answers], dtype=torch.float64)
        state = self.constraints(logits_BK)
        values, count = state.value_K.tolist(), len(answers)
        uppers = self.constraints.upper_bounds(state, count, self.confidence)
        shown = "" if main_policy(self.kept) else policy
        return [
            ConstraintVerdict(name, values[k], uppers[k], constraint.threshold, self.confidence, count, shown)
            for k, (name, constraint) in enumerate(zip(names, self.constraints, strict=True))
        ]

    def about(self) -> dict[str, Any]:
        """Where the answers come from, for whoever reads them later."""
        if self.outputs is not None:
            return {**self.origin, "judge": self.settings.judge}
        scorers = {name: self.inputs[name] for name in ("sft", "reward", "cost")}
        return {
            "csrlhf": __version__,
            "policies": {name: fingerprint_of(str(folder)) for name, folder in self.folders.items()},
            "inputs": {name: _fingerprints(given) for name, given in scorers.items()},
            "judge": self.settings.judge,
            "constraints": list(self.constraints.names),
            "prompts": self.trainer.datamodule.source.hashes(),  # type: ignore[attr-defined]  # Lightning attaches it
            "samples_per_prompt": self.num_samples,
            "decoding": {
                "max_new_tokens": self.sampler.max_new_tokens,
                "min_new_tokens": self.sampler.min_new_tokens,
                "temperature": self.sampler.warp.temperature,
                "top_k": self.sampler.warp.top_k,
                "top_p": self.sampler.warp.top_p,
                "greedy": self.sampler.greedy,
            },
            "seed": self.seed,
        }

    def export(self, folder: Path) -> None:
        """Write every answer as a JSON line, the page, and its figures."""
        about = self.about()
        digest = write_answers(folder / ANSWERS, self._all(), about)
        verdicts = [line for name in self.kept for line in self.verdicts(name)]
        report = evaluation_report(self.analysis, self._all(), verdicts, {**about, "sha256 of answers.jsonl": digest})
        report.write(folder / "report.html")
        report.save_figures(folder / "plots")


def _verdict_metrics(prefix: str, verdicts: Sequence[ConstraintVerdict]) -> dict[str, float]:
    found = {}
    for verdict in verdicts:
        found[f"{prefix}/{verdict.name}/rate"] = verdict.value
        found[f"{prefix}/{verdict.name}/upper_bound"] = verdict.upper
        found[f"{prefix}/{verdict.name}/feasible"] = float(verdict.feasible)
    return found


def _fingerprints(given: Any) -> Any:
    """Of a folder, or of several cost models' folders."""
    if isinstance(given, Mapping):
        return {name: fingerprint_of(str(folder)) for name, folder in given.items()}
    if isinstance(given, str | Path):
        return fingerprint_of(str(given))
    return [fingerprint_of(str(folder)) for folder in given]


def _check(
    policies: Mapping[str, str] | None,
    samples_per_prompt: int,
    attempts: int | None,
    judge: str | None,
    labels: str | None,
    outputs: str | None,
) -> None:
    """Refuses keys of ``evaluate`` that do not fit together."""
    if policies is not None and outputs is not None:
        raise UserError("evaluate.outputs: answers are there already, evaluate.policies would answer; set one of both")
    if policies is not None and not policies:
        raise UserError("evaluate.policies={}: name at least one folder, evaluate.policies={name: FOLDER}")
    wrong = [name for name in policies or {} if not str(name).replace("-", "_").replace("_", "a").isalnum()]
    if wrong:
        raise UserError(f"evaluate.policies: {wrong[0]!r} is part of metric keys: use letters, digits, - and _")
    if samples_per_prompt < 1:
        raise UserError(f"evaluate.samples_per_prompt={samples_per_prompt}: must be >= 1")
    if outputs is None and attempts is not None and attempts > samples_per_prompt:
        raise UserError(
            f"evaluate.attempts={attempts}: there are evaluate.samples_per_prompt={samples_per_prompt} answers to a "
            "prompt; lower the one or raise the other"
        )
    if judge_of(judge) == PEOPLE and labels not in (None, judge):
        raise UserError(f"evaluate.judge={judge}: is a labels file, and evaluate.labels={labels} another; set one")
