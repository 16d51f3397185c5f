"""All numbers and verdicts of an evaluation, from its answers alone: kept answers give the same digits again.

Legend: B answers, K constraints.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from csrlhf.constraints.set import Constraints
from csrlhf.constraints.where import select
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.labels import Labels
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.analysis import Analysis, Settings, analyse, flat, prefix_of, verdict_numbers
from csrlhf.evaluation.policies.rates import by_prompt
from csrlhf.evaluation.policies.table import ConstraintVerdict, judged_answers, main_policy
from csrlhf.stats.intervals import rate_upper
from csrlhf.stats.policy_report import JudgedAnswer, policy_metrics
from csrlhf.types import Layout, PromptRow


def constraint_verdicts(
    answers: Sequence[Answer], constraints: Constraints, confidence: float, policy: str = ""
) -> list[ConstraintVerdict]:
    """The constraints' own statistics with their upper bounds, on test prompts drawn like the training prompts.

    Held-out framings are another distribution than the threshold's: the table shows them, the verdict leaves
    them out. The unit is the prompt: with several answers each, J and its bound are over the prompts' means, of as many
    answers as every prompt has. Answers without scores have no verdict.

    Args:
        answers: of one policy.
        constraints: the run's.
        confidence: of each one-sided bound.
        policy: the name that the verdict is shown under; empty where there is no doubt whose it is.
    """
    scored = [answer for answer in answers if answer.cost_logits]
    chosen = by_prompt([answer for answer in scored if answer.meta.get("framing_seen", True)] or scored)
    if not chosen:
        return []
    names, count, each = constraints.names, len(chosen), min(len(group) for group in chosen.values())
    if not all("layout" in inspect.signature(constraint.forward).parameters for constraint in constraints):
        each = 1  # a plug-in that does not know which answers share a prompt
    taken = [answer for group in chosen.values() for answer in group[:each]]
    rows = [PromptRow(answer.messages, {**answer.meta, "category": answer.category}) for answer in taken]
    logits_BK = torch.tensor([[a.cost_logits[name] for name in names] for a in taken], dtype=torch.float64)
    state = constraints(logits_BK, layout=Layout(per_prompt=each), rows=rows)
    values, uppers = state.value_K.tolist(), list(constraints.upper_bounds(state, count, confidence))
    verdicts = []
    for k, (name, constraint) in enumerate(zip(names, constraints, strict=True)):
        about = count if state.counts[k] is None else state.counts[k]
        if not about:
            raise UserError(
                f"constraints.{name}.where: selects none of the {count} test prompts, or fewer than the "
                f"{constraints.least_counts[name]} that the statistic needs; test on such prompts"
            )
        if constraint.is_rate and each > 1:  # a mean of several answers is no yes or no: no binomial bound
            is_about = select(name, constraints.kinds[name], rows) if name in constraints.kinds else [True] * len(rows)
            rates = constraint.sample_costs(logits_BK[torch.tensor(is_about), k]).reshape(about, each)
            uppers[k] = max(values[k], rate_upper(rates.tolist(), confidence))
        verdicts.append(
            ConstraintVerdict(name, values[k], uppers[k], constraint.threshold, confidence, about, policy, each)
        )
    return verdicts


@dataclass(frozen=True)
class Conclusions:
    """What an evaluation ends with.

    Attributes:
        main: the policy that it is about; None where all are alike.
        judged: the answers by policy, as the closing table takes them.
        columns: the closing table's numbers by policy.
        verdicts: on the constraints, by policy.
        analysis: rates, arenas, tests, agreement.
        numbers: everything as flat metrics.
    """

    main: str | None
    judged: Mapping[str, list[JudgedAnswer]]
    columns: Mapping[str, Mapping[str, float]]
    verdicts: Mapping[str, list[ConstraintVerdict]]
    analysis: Analysis
    numbers: dict[str, float]

    @property
    def comparable(self) -> bool:
        """True if all policies have scored answers to the same prompts, which can be shown side by side."""
        scored = all(a.reward is not None and a.cost_logits for given in self.judged.values() for a in given)
        return scored and len({len(given) for given in self.judged.values()}) == 1

    @property
    def decisive(self) -> list[ConstraintVerdict]:
        """The verdicts that count: those on the main policy, or on all."""
        return [one for name in ([self.main] if self.main else self.verdicts) for one in self.verdicts[name]]


def conclude(
    answers: Mapping[str, Sequence[Answer]],
    constraints: Constraints,
    settings: Settings,
    labels: Labels | None = None,
    labels_file: str = "labels",
    what: str = "the evaluation",
    refused: Mapping[str, bool] | None = None,
) -> Conclusions:
    """Everything that is said of some answers.

    Args:
        answers: by policy, in the order in which policies are shown.
        constraints: that the policies are to keep.
        settings: of the analysis; its confidence is that of the verdicts too.
        labels: judgements by people.
        labels_file: where they come from, for messages.
        what: where the answers come from, for messages.
        refused: which answers refuse, by id; None: by the oracle, or their words.

    Raises:
        UserError: the answers were scored for other constraints, or the analysis cannot be made (see ``analyse``).
    """
    main = main_policy(answers)
    judged = {name: judged_answers(given, constraints.names, what) for name, given in answers.items()}
    columns = {name: policy_metrics(given) for name, given in judged.items()}
    verdicts = {
        name: constraint_verdicts(given, constraints, settings.confidence, "" if main else name)
        for name, given in answers.items()
    }
    numbers: dict[str, float] = {}
    for name, column in columns.items():
        numbers |= {f"{prefix_of(name, main)}/{key}": value for key, value in column.items()}
    for name in [main] if main else answers:
        numbers |= verdict_numbers(prefix_of(name, main), verdicts[name])
    analysis = analyse(answers, settings, labels, labels_file, refused)
    return Conclusions(main, judged, columns, verdicts, analysis, numbers | flat(analysis, main))
