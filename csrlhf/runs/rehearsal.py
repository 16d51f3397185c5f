"""Builds the objects of every stage, without weights or data, before the first stage trains.

A value out of range for the last stage would else show after all the others have run. ``python -m csrlhf.runs.rehearsal
JSON``, in a process of its own: the waiting pipeline imports no torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from hydra.utils import instantiate

from csrlhf.apps import cli
from csrlhf.config import contracts
from csrlhf.errors import UserError
from csrlhf.runs.strategies import check_strategy


def rehearse(stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Instantiate what each stage will, and compare what they have to agree on.

    Args:
        stages: what each stage builds (``pipeline.parts_of``), by its name.

    Raises:
        UserError: a value is out of range, the strategy is none that the tests compare, or the constraints are not
            those that the cost model will be trained on.
    """
    from csrlhf.tracking.quiet import quiet

    quiet()
    modules: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for stage, parts in stages.items():
        check_strategy(parts["trainer"].get("strategy", "auto"))
        contracts.check_stage(parts["module"], parts["datamodule"])
        modules[stage] = instantiate(parts["module"])
        data = instantiate(parts["datamodule"], tokenizer=None)
        sources[stage] = data.source
        instantiate(parts["trainer"], logger=False, enable_checkpointing=False)
    # A cost model given as an input brings outputs of its own; they are compared when it is loaded.
    if {"cost", "ppo"} <= stages.keys() and modules["ppo"].inputs["cost"] is None:
        _check_constraints(modules["ppo"].constraints.names, sources["cost"].constraints)


def _check_constraints(names: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in outputs]
    if missing:
        raise UserError(
            f"constraints.{missing[0]}: the cost model will be trained on data.constraints={list(outputs)}; add "
            f"{', '.join(missing)} there, or choose another constraint="
        )


def main(text: str) -> int:
    """Rehearse what the text describes; report as the stages would."""
    try:
        rehearse(json.loads(text))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
        return cli.report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
