"""The one program: ``python train.py [key=value ...]``.

Without arguments it runs the pipeline (SFT, reward model, cost model, PPO, evaluation) on the embedded
toy world. ``python train.py --help`` lists the groups and keys; ``python -m csrlhf`` is the same program
after a plain ``pip install``.
"""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from csrlhf.apps import cli
from csrlhf.config import search_path

PROGRAM = (sys.executable, sys.argv[0])
"""How this program is started again; in a launcher's process the arguments are the launcher's."""


@hydra.main(version_base="1.3", config_path=search_path.conf_folder(), config_name="train")
@cli.one_line_errors
def main(cfg: DictConfig) -> float | None:
    """Runs the stage that the config names and returns the sweep objective."""
    from csrlhf.runs import runner  # here, so that --help and typing errors answer at once

    return runner.run(cfg, program=PROGRAM)


if __name__ == "__main__":
    search_path.register()
    sys.exit(cli.call(main))
