"""``python -m csrlhf`` is ``python train.py`` for an installed package; see train.py."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from csrlhf.apps import cli
from csrlhf.config import search_path


@hydra.main(version_base="1.3", config_path=search_path.conf_folder(), config_name="train")
@cli.one_line_errors
def main(cfg: DictConfig) -> float | None:
    """Runs the stage that the config names and returns the sweep objective."""
    from csrlhf.runs import runner

    return runner.run(cfg, (sys.executable, "-m", "csrlhf"))


def entry() -> None:
    """The ``csrlhf`` command."""
    search_path.register()
    sys.exit(cli.call(main))


if __name__ == "__main__":
    entry()
