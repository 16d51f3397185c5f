"""What Hydra has to know of us: where configs lie, and the one resolver that they use.

A package offers its config folder by an entry point in the group ``csrlhf.conf``; after that
``penalty=their_name`` works and is listed like ours::

    [project.entry-points."csrlhf.conf"]
    their_package = "their_package.conf"
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from csrlhf.errors import UserError

ENTRY_POINT_GROUP = "csrlhf.conf"


class EntryPointConfigs(SearchPathPlugin):
    """Appends the config packages of the entry points, in the order of their names."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
            search_path.append(provider=point.name, path=f"pkg://{point.value}")


def register() -> None:
    """Makes plug-in and resolver known. Hydra by itself discovers plug-ins only below ``hydra_plugins``."""
    Plugins.instance().register(EntryPointConfigs)
    OmegaConf.register_new_resolver("ceil_div", ceil_div, replace=True)


def ceil_div(amount: int, size: int) -> int:
    """How many portions of ``size`` hold ``amount``: ``${ceil_div:${ppo.iterations},${ppo.eval_every}}``."""
    if size < 1:
        raise UserError(f"ppo.eval_every={size}: must be 1 or more")
    return -(-amount // size)


def conf_folder() -> str:
    """The folder of our configs: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).absolute().parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")
