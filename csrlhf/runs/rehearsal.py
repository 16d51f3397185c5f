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


def main(text: str) -> int:
    """Rehearse what the text describes; report as the stages would."""
    try:
        rehearse(json.loads(text))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
        return cli.report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
