"""Settings of the stages evaluate and certify. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

from csrlhf.data.harmless import BENIGN, HARMFUL
from csrlhf.data.settings import EvaluationPrompts, JudgedRowsSettings
from csrlhf.errors import UserError
from csrlhf.generation.config import REFUSAL, Rule
from csrlhf.settings import Settings, setting


@dataclass
class EvaluateSettings(EvaluationPrompts):
    """Policies on the same prompts (docs/how-to/evaluate.md).

    Attributes:
        policies: folders by name; None compares the SFT policy with the trained one.
        attempts: k of attack success at k; None for all answers to a prompt.
        judge: who says what is unsafe: None for the cost model, another scorer (docs/how-to/your_scorer.md),
            ``oracle``, a labels file.
        labels: a file of people's judgements, which every automatic judge is compared with.
        benign: categories whose prompts are harmless.
        harmful: categories whose prompts are harmful. A column ``harmful`` says it of each prompt, and comes first.
        tie: rewards that differ by at most this much are equal.
        confidence: of the verdict's one-sided bound and of every interval.
    """

    policies: Any = None
    attempts: int | None = setting(None, ">= 1")
    judge: Any = None
    labels: str | None = None
    benign: list[str] = field(default_factory=lambda: list(BENIGN))
    harmful: list[str] = field(default_factory=lambda: list(HARMFUL))
    tie: float = setting(0.0, "0 or above")
    confidence: float = setting(0.95, "in (0, 1)")


@dataclass
class CostEvaluationSettings(JudgedRowsSettings):
    """A cost model on labelled rows (docs/how-to/cost_evaluation.md).

    Attributes:
        outputs: an ``answers.jsonl`` of policies, compared with what the cost model was made on; None for none.
        max_false_negative_rate: the most unsafe answers that the threshold to choose may let pass, as a share of them.
        delta: probability that it lets more pass all the same, over all constraints together.
        baseline: train a bag-of-words baseline beside the model, where the data has a training split.
    """

    outputs: str | None = None
    max_false_negative_rate: float = setting(0.05, "in (0, 1)")
    delta: float = setting(0.05, "in (0, 1)")
    baseline: bool = True


class MeanBound(StrEnum):
    """Upper bounds on a mean cost that may decide."""

    betting = auto()
    empirical_bernstein = auto()
    hoeffding = auto()


class Truth(StrEnum):
    """Ways from labels to the true unsafe rate that may decide."""

    audit = auto()
    rogan_gladen = auto()
    prediction_powered = auto()
    """By its bound that is valid for every sample size; the usual normal approximation is shown beside it."""


class Decoding(StrEnum):
    """Which way of answering is certified."""

    plain = auto()
    """One draw per prompt."""
    best_of_n = auto()
    """With abstention."""


@dataclass
class AuditSettings(Settings):
    """Which responses are labelled, and when labelling may stop (docs/how-to/certify.md).

    Attributes:
        rate: probability with which a response that the cost model accepts is to be labelled; 1 treats all alike. None:
            what was fixed when the responses were drawn, by their number and the thresholds.
        score: P(unsafe) by the cost model above which every response is labelled, or four in ten if these are many;
            None: as fixed, or 0.5.
        fixed: how many labels there will be, fixed before the first one: exact bounds for that number, which may not be
            looked at earlier. None: look after every label, and stop at any time.
    """

    key = "certify.audit"

    rate: float | None = setting(None, "in (0, 1]")
    score: float | None = setting(None, "in [0, 1]")
    fixed: int | None = setting(None, ">= 1")

    def check(self, key: str) -> None:
        """Exact counts need labels that all weigh the same."""
        super().check(key)
        if self.fixed is not None and self.rate not in (None, 1):
            raise UserError(
                f"{key}.rate={self.rate}: with {key}.fixed={self.fixed} every response is as likely to be labelled; "
                f"leave {key}.rate null, or leave {key}.fixed null and stop when it is decided"
            )


@dataclass
class CertificateSettings(Settings):
    """What decides what a certificate says of given responses.

    Attributes:
        confidence: 1 - δ of the whole certificate.
        num_runs: m, of which the certified policy was chosen by such numbers, or by evaluations on these prompts: each
            has δ/m.
        mean_bound: which bound decides on a mean cost.
        labels: judgements of responses, see ``audit_labels``: a file, ``oracle``, or one of these by constraint.
        num_labels: how many of the responses an oracle judges, the first of the order; None for all that stand in it.
        truth: how labels become the true unsafe rate that decides.
        audit: which responses are labelled, and when labelling may stop.
    """

    key = "certify"

    confidence: float = setting(0.95, "in (0, 1)")
    num_runs: int = setting(1, ">= 1")
    mean_bound: MeanBound = MeanBound.betting
    labels: Any = None
    num_labels: int | None = setting(None, ">= 1")
    truth: Truth = Truth.audit
    audit: AuditSettings = field(default_factory=AuditSettings)

    def check(self, key: str) -> None:
        """Only the audit of labels itself may be looked at again and again."""
        super().check(key)
        if self.truth != Truth.audit and self.audit.fixed is None:
            raise UserError(
                f"{key}.truth={self.truth}: holds for a number of labels that was fixed before the first one; say how "
                f"many, {key}.audit.fixed=300, or leave {key}.truth=audit, which may stop at any time"
            )


@dataclass
class CertifySettings(CertificateSettings):
    """What is certified, and how (docs/how-to/certify.md).

    Attributes:
        prompts: a file of prompts that nobody has used; None for the source's.
        num_prompts: a random choice of so many; None for all.
        chosen_on: files with prompts by which a threshold, λ or N was chosen.
        outputs: an ``answers.jsonl`` of an earlier certificate; nothing is generated.
        decode: which way of answering is certified.
        n: best of N: candidates per prompt.
        rule: which of them is the answer.
        threshold: the highest cost logit that is accepted, for all constraints or by name.
        refusal: what is said where no candidate is accepted.
        reward: a reward model; what ``certify.rule=best`` chooses by, a figure beside it otherwise.
        judge: scorers whose verdicts count instead of ``inputs.cost``'s: one, or some by constraint.
        lambda_from: folders that tell of λ*: of a sweep, of dual runs.
        batch_size: prompts at a time.
    """

    prompts: str | None = None
    num_prompts: int | None = setting(None, ">= 1")
    chosen_on: list[str] = field(default_factory=list)
    outputs: str | None = None
    decode: Decoding = Decoding.plain
    n: int = setting(8, ">= 1")
    rule: Rule = Rule.best
    threshold: Any = 0.0
    refusal: str = REFUSAL
    reward: Any = None
    judge: Any = None
    lambda_from: Any = None
    batch_size: int = setting(16, ">= 1")
