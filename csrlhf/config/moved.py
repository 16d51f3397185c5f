"""Classes that people name in their own YAML files and that have moved: old names go on working, with one line each.

Penalties, constraints, advantages and data sources are where they always were.
"""

from __future__ import annotations

import warnings
from typing import Any

from omegaconf import DictConfig

from csrlhf.errors import InputWarning

MOVED = {
    "csrlhf.rollout.sampler.Sampler": "csrlhf.generation.sampler.Sampler",
    "csrlhf.modules.optimizers.AdamW": "csrlhf.training.optim.AdamW",
    "csrlhf.modules.optimizers.AdamW8bit": "csrlhf.training.optim.AdamW8bit",
    "csrlhf.modules.selection.Selection": "csrlhf.training.ppo.config.SelectionSettings",
    "csrlhf.models.tuning.Tuning": "csrlhf.models.settings.Tuning",
    "csrlhf.callbacks.averaging.MovingAverage": "csrlhf.tracking.averaging.MovingAverage",
    "csrlhf.callbacks.cost_plots.CostPlots": "csrlhf.tracking.cost_plots.CostPlots",
    "csrlhf.callbacks.display.progress_bar": "csrlhf.tracking.display.progress_bar",
    "csrlhf.callbacks.plots.Plots": "csrlhf.tracking.plots.Plots",
    "csrlhf.callbacks.samples.SampleTables": "csrlhf.tracking.samples.SampleTables",
    "csrlhf.callbacks.score_report.ScoreReport": "csrlhf.tracking.score_report.ScoreReport",
    "csrlhf.callbacks.tracking.wandb_logger": "csrlhf.tracking.tracking.wandb_logger",
}
"""New names by old ones."""


def renew(config: DictConfig, key: str = "") -> None:
    """Replaces old names by new ones, in place, wherever a ``_target_`` has one; warns of each."""
    if config._is_none() or config._is_interpolation() or config._is_missing():
        return
    for name in config:
        node: Any = config._get_node(name)
        place = f"{key}.{name}" if key else str(name)
        if isinstance(node, DictConfig):
            renew(node, place)
        elif name == "_target_" and (new := MOVED.get(node._value())) is not None:
            warnings.warn(
                f"{place}={node._value()}: has moved to {new}; write that, the old name will go",
                InputWarning,
                stacklevel=2,
            )
            config[name] = new
