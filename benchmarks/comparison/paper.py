"""The tables of ``benchmarks.paper`` as Markdown, from the answers of all seeds.

Truth is the oracle's verdict. Rates count the first answer to each prompt; the attack success rate at k uses all. Where
seeds are put together their prompts count once each: trainings differ more than such intervals say, so the table of
policies resamples seeds as well (``measures.estimate``).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks.comparison.jobs import Folders, Job, assign, quoted
from benchmarks.comparison.measures import Rate, estimate, mean
from benchmarks.comparison.settings import loss_settings
from benchmarks.comparison.tables import with_interval
from csrlhf.evaluation.answers.labels import Labels, verdicts
from csrlhf.evaluation.answers.records import Answer, read_answers
from csrlhf.evaluation.policies.agreement import humans, judge_agreement
from csrlhf.evaluation.policies.paired_tests import corrected, paired_test
from csrlhf.evaluation.policies.rates import BENIGN, Estimate, attack_success

# The evaluation behind ``benchmarks.paper``: a seed's policies on the same prompts, judged by everybody.

OURS, RIVAL = "semantic-rectified", "pairwise-lagrangian"
"""The settings of ``benchmarks.losses`` that stand for CS-RLHF and Safe-RLHF."""

POLICIES = {
    "cs_rlhf": "CS-RLHF",
    "safe_rlhf": "Safe-RLHF",
    "cs_rlhf_last": "CS-RLHF, last",
    "safe_rlhf_last": "Safe-RLHF, last",
    "sft": "SFT",
}
"""Name in the evaluation: name in the tables. Of each run the policy handed over, and the last, as papers have it."""

SAMPLES = 4
"""Answers of each policy to each prompt."""


def paper_job(folders: Folders, seed: int) -> Job:
    """One command: all policies, judged by the oracle and by both cost models.

    The semantic cost model gives the cost logits, the pairwise one is ``evaluate.judge``; the oracle's verdicts come
    with the toy world.
    """
    root, base = folders.out / f"seed{seed}", folders.base / f"seed{seed}"
    ours, rival = (folders.run(loss_settings()[name], seed)[0].result for name in (OURS, RIVAL))
    trained = {"safe_rlhf": rival, "cs_rlhf": ours}
    last = {f"{name}_last": folder / "last" for name, folder in trained.items()}
    policies = {"sft": base / "sft", **trained, **last}
    models = {"sft": base / "sft", "reward": base / "reward", "cost": folders.cost_model(seed, "semantic")}
    places = (
        assign("artifacts", root),
        "name=paper",
        *(assign(f"inputs.{name}", folder) for name, folder in models.items()),
        f"evaluate.policies={{{','.join(f'{name}:{quoted(folder)}' for name, folder in policies.items())}}}",
        assign("evaluate.judge", folders.cost_model(seed, "pairwise")),
    )
    overrides = (f"evaluate.samples_per_prompt={SAMPLES}", *folders.overrides)
    return Job("evaluate", "paper", seed, root, overrides, places, root / "evaluate" / "paper")


def read_seed(job: Job) -> list[Answer]:
    """The seed's answers; ids carry the seed, so that seeds can be put together."""
    return [_of_seed(answer, job.seed) for answer in read_answers(job.result / "answers.jsonl")]


def _of_seed(answer: Answer, seed: int) -> Answer:
    return replace(answer, id=f"{seed}/{answer.id}", prompt_id=f"{seed}/{answer.prompt_id}")


def answers_of(answers: Sequence[Answer], policy: str) -> list[Answer]:
    """Those of one policy."""
    return [answer for answer in answers if answer.policy == policy]


Seeds = Mapping[int, Sequence[Answer]]

CONFIDENCE = 0.95
NUM_LABELLED, RATER_ERROR = 400, 0.05
"""Answers of a seed that two simulated raters judge, and how often each of them errs."""

JUDGES = {"cost_model": "semantic cost model", "judge_model": "pairwise cost model", "oracle": "oracle"}


def harmful(answer: Answer) -> bool:
    """A prompt that asks for harm."""
    return answer.category not in BENIGN


PROMPTS: dict[str, Callable[[Answer], bool]] = {
    "nominal": lambda answer: harmful(answer) and answer.attack == "plain",
    "jailbreak, seen": lambda a: harmful(a) and a.attack != "plain" and bool(a.meta["framing_seen"]),
    "jailbreak, held-out": lambda a: harmful(a) and a.attack != "plain" and not a.meta["framing_seen"],
}
"""Groups of harmful prompts: asked plainly, or in a framing that training had, or had not."""

PAIRS = (
    ("cs_rlhf", "safe_rlhf"),
    ("cs_rlhf_last", "safe_rlhf_last"),
    *((policy, "sft") for policy in POLICIES if policy != "sft"),
)
"""Policies that a paired test compares: selected with selected, last with last, and each with the SFT policy."""

HELP = {"helped, benign": ("benign", "helped"), "helped, alike": ("keyword_alike", "helped")}


def policy_table(seeds: Seeds) -> str:
    """Unsafe rates on nominal and jailbreak prompts, help, false refusals and reward; a row per policy."""
    titles = ["policy", *(f"unsafe, {name}" for name in PROMPTS), *HELP, "false refusal", "reward"]
    lines = _head(titles)
    for policy, name in POLICIES.items():
        of = [_first(answers_of(answers, policy)) for answers in seeds.values()]
        cells = [_rate(of, among, "unsafe") for among in PROMPTS.values()]
        cells += [_rate(of, lambda a, group=group: a.category == group, flag) for group, flag in HELP.values()]
        cells.append(_rate(of, lambda a: not harmful(a), "refused"))
        rewards = [mean([a.reward for a in answers if a.reward is not None]) for answers in of]
        lines.append(_row([name, *cells, with_interval(estimate(rewards), 1.0, 2)]))
    return (
        f"**Policies** ({_seeds(seeds)}; percent by the oracle, 95 % intervals over seeds and prompts):\n\n"
        + "\n".join(lines)
    )


def attack_table(seeds: Seeds) -> str:
    """Attack success rate at one and at k answers by jailbreak category, over the prompts of all seeds."""
    every = [answer for answers in seeds.values() for answer in answers]
    unsafe = verdicts(every, "oracle")
    at = {
        (policy, k): attack_success(answers_of(every, policy), unsafe, k, BENIGN, CONFIDENCE)
        for policy in POLICIES
        for k in (1, SAMPLES)
    }
    titles = ["attack", *(f"{name} at {k}" for name in POLICIES.values() for k in (1, SAMPLES))]
    attacks = [name for name in at["sft", 1] if name != "all"]
    lines = _head(titles)
    for attack in ["all", *sorted(attacks, key=lambda name: (name != "plain", name))]:
        lines.append(_row([attack, *(_percent(at[key][attack]) for key in at)]))
    return (
        f"**Attack success rate** on harmful prompts, with one response and with any of {SAMPLES} (percent):\n\n"
        + "\n".join(lines)
    )


def paired_table(seeds: Seeds) -> str:
    """McNemar's exact test between policies, prompts of all seeds together, Holm-corrected over the table."""
    every = [answer for answers in seeds.values() for answer in _first(answers)]
    unsafe = verdicts(every, "oracle")
    tests, ratios = [], []
    for first, second in PAIRS:
        for group, among in PROMPTS.items():
            one, other = ([a for a in answers_of(every, policy) if among(a)] for policy in (first, second))
            test = paired_test(one, other, unsafe, group)
            if test is not None:
                counts = [sum(unsafe[a.id] for a in answers) for answers in (other, one)]
                tests.append(test)
                ratios.append(f"{counts[0] / counts[1]:.1f}" if counts[1] else f"{counts[0]} to 0")
    titles = [
        "policies",
        "harmful prompts",
        "n",
        "first alone unsafe",
        "second alone",
        "ratio of unsafe responses",
        "p, Holm",
    ]
    lines = _head(titles)
    for test, ratio in zip(corrected(tests), ratios, strict=True):
        names = f"{POLICIES[test.challenger]} against {POLICIES[test.baseline]}"
        counts = [str(test.num_prompts), str(test.only_challenger), str(test.only_baseline)]
        lines.append(_row([names, test.group, *counts, ratio, f"{test.adjusted:.2g}"]))
    return f"**Paired tests** on first answers ({_seeds(seeds)}; ratio: second's over first's):\n\n" + "\n".join(lines)


def agreement_table(seeds: Seeds) -> str:
    """How far automatic judges agree with two simulated raters, on the same answers."""
    every = [answer for answers in seeds.values() for answer in answers]
    labels = simulated_labels(seeds)
    raters = humans(every, labels, CONFIDENCE)
    lines = _head(["judge", "agreement", "kappa", "sensitivity", "specificity"])
    lines.append(_row(["rater against rater", _percent(raters.agreement), _plain(raters.kappa), "", ""]))
    for judge in judge_agreement(every, labels.majority(), CONFIDENCE):
        rates = [
            _percent(judge.agreement),
            _plain(judge.kappa),
            _percent(judge.sensitivity),
            _percent(judge.specificity),
        ]
        lines.append(_row([JUDGES[judge.judge], *rates]))
    return (
        f"**Judges against two simulated raters**, each wrong on {RATER_ERROR:.0%} of the answers "
        f"({raters.num_answers} answers, percent, 95 % intervals):\n\n" + "\n".join(lines)
    )


def simulated_labels(seeds: Seeds) -> Labels:
    """Two raters who see the truth and err now and then, independently; ties are unsafe, as for people."""
    found: dict[str, dict[str, bool]] = {}
    for seed, answers in seeds.items():
        rng = random.Random(seed)
        for answer in rng.sample(list(answers), min(NUM_LABELLED, len(answers))):
            assert answer.oracle is not None  # the toy world has a truth
            found[answer.id] = {
                rater: bool(answer.oracle["unsafe"]) != (rng.random() < RATER_ERROR) for rater in ("first", "second")
            }
    return Labels(found)


def _first(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.sample == 0]


def _rate(seeds: Sequence[Sequence[Answer]], among: Callable[[Answer], bool], flag: str) -> str:
    rates = []
    for answers in seeds:
        hits = [bool(answer.oracle[flag]) for answer in answers if answer.oracle is not None and among(answer)]
        rates.append(Rate(sum(hits), len(hits)))
    return with_interval(estimate(rates), 100.0, 1)


def _seeds(seeds: Seeds) -> str:
    return f"{len(seeds)} seed{'s' if len(seeds) > 1 else ''}"


def _percent(found: Estimate) -> str:
    return f"{100 * found.value:.1f} ({100 * found.low:.1f}, {100 * found.high:.1f})"


def _plain(found: Estimate) -> str:
    return f"{found.value:.2f} ({found.low:.2f}, {found.high:.2f})"


def _head(titles: Sequence[str]) -> list[str]:
    return [_row(titles), _row(["---"] * len(titles))]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
