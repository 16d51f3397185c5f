"""Builds the objects of every stage, without weights or data, before the first stage trains.

A value out of range for the last stage would else show after all the others have run. Of scorers that no stage makes
the weights are loaded as well, and two rows are scored: a wrong sign would show in nothing but a spoilt policy.
``python -m csrlhf.runs.rehearsal JSON``, in a process of its own: the waiting pipeline imports no torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate

from csrlhf.apps import cli
from csrlhf.config import contracts
from csrlhf.config.contracts import check_strategy
from csrlhf.runs.stages.base import declaration


def rehearse(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Instantiate what each stage will, and let each compare what has to agree with the stages before it.

    Args:
        stages: what each stage builds (``pipeline.parts_of``), by its name.

    Raises:
        UserError: a value is out of range, the strategy is none that the tests compare, or a stage does not agree with
            an earlier one.
    """
    from csrlhf.tracking.quiet import quiet

    quiet()
    modules: dict[str, Any] = {}
    datamodules: dict[str, Any] = {}
    for stage, parts in stages.items():
        check_strategy(parts["trainer"].get("strategy", "auto"))
        contracts.check_stage(parts["module"], parts["datamodule"])
        modules[stage] = instantiate(parts["module"])
        datamodules[stage] = instantiate(parts["datamodule"], tokenizer=None)
        instantiate(parts["trainer"], logger=False, enable_checkpointing=False)
        if (compare := declaration(parts["stage"]["declaration"]).rehearse) is not None:
            compare(modules, datamodules)
    probe_scorers(stages)


ROLES = {
    "inputs.reward": "reward",
    "inputs.cost": "cost",
    "cost": "cost",
    "settings.judge": "cost",
    "settings.reward": "reward",
}
"""Where the config of a stage's module has scorers, and their roles."""


def probe_scorers(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Load each scorer that no stage makes, once, and ask it about two rows of ours (``scorers/probe.py``).

    Args:
        stages: as of :func:`rehearse`.

    Raises:
        UserError: it cannot be loaded, does not score what it is asked for, or looks wrong.
    """
    from csrlhf.evaluation.answers.labels import judge_of
    from csrlhf.scorers.build import is_ours
    from csrlhf.scorers.costs import cost_scorer, reward_scorer
    from csrlhf.scorers.specs import as_spec, is_single

    seen: set[str] = set()
    for parts in stages.values():
        module = parts["module"]
        names = list(module.get("constraints") or {}) or None
        for place, role in ROLES.items():
            given = module
            for word in place.split("."):
                given = given.get(word) if isinstance(given, Mapping) else None
            if given is None or (place == "settings.judge" and judge_of(given) != "judge_model"):
                continue
            spec = as_spec(given)
            key = PLACES.get((parts["stage"]["name"], place), f"inputs.{role}")
            wanted = None if key == "evaluate.judge" else names
            known = json.dumps([spec, role, wanted], sort_keys=True)
            if known in seen or (is_single(spec) and is_ours(spec)):
                continue
            seen.add(known)
            if role == "reward":
                reward_scorer(spec, key)
            else:
                cost_scorer(spec, wanted, key)


PLACES = {
    ("evaluate", "settings.judge"): "evaluate.judge",
    ("certify", "settings.judge"): "certify.judge",
    ("certify", "settings.reward"): "certify.reward",
}
"""The keys that people type for these."""


def main(text: str) -> int:
    """Rehearse what the text describes; report as the stages would."""
    try:
        rehearse(json.loads(text))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
        return cli.report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
