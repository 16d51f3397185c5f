"""What Hydra has to know of us: where configs lie, ours and those of plug-ins, and the resolvers that they use.

A package offers its config folder by an entry point in the group ``csrlhf.conf``; after that
``penalty=their_name`` works and is listed like ours::

    [project.entry-points."csrlhf.conf"]
    their_package = "their_package.conf"
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import plugins, schema
from csrlhf.errors import UserError
from csrlhf.runs.stages.base import declaration

ENTRY_POINT_GROUP = "csrlhf.conf"


class EntryPointConfigs(SearchPathPlugin):
    """Appends the config folders of the entry points, in the order of their names."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for name, folder in plugin_folders().items():
            search_path.append(provider=name, path=f"file://{folder}")


def plugin_folders() -> dict[str, Path]:
    """The config folder of each entry point, by its name.

    Raises:
        UserError: names the package whose folder is not there, or which hides or repeats another's choice.
    """
    folders: dict[str, Path] = {}
    owners = dict.fromkeys(_choices(Path(conf_folder())), "csrlhf")
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        folder = _folder(point)
        for choice in _choices(folder):
            if choice in owners:
                raise UserError(
                    f"{_called(point)}: {choice} is there already, from {owners[choice]}; a choice has one meaning, so "
                    "give the file another name, or uninstall the package"
                )
            owners[choice] = point.name
        folders[point.name] = folder
    return folders


def plugin_versions() -> dict[str, str]:
    """The version of each plug-in's distribution, by the name of the Python package that its entry point names."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    return {point.value.partition(".")[0]: point.dist.version for point in points if point.dist is not None}


def is_ours(group: str, choices: Mapping[str, str]) -> bool:
    """Whether the chosen option of a group is one of our own configs."""
    return (Path(conf_folder()) / group / f"{choices.get(group)}.yaml").is_file()


def _folder(point: EntryPoint) -> Path:
    """Where an entry point's package lies; found without importing it, as a rule (plugins.py)."""
    try:
        folder = plugins.folder_of(point.value)
    except Exception as error:  # a package of somebody else's that had to be imported: any error is possible
        raise UserError(
            f"{_called(point)}: importing {point.value} fails with {error!r}; mend or uninstall it"
        ) from error
    if folder is None:
        raise UserError(
            f"{_called(point)}: it offers configs in {point.value}, and there is no such package; it needs a folder "
            "of this name with an __init__.py and YAML files as package data, or uninstall it"
        )
    return folder


def _called(point: EntryPoint) -> str:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.name
    return f"plug-in {distribution} (entry point {point.name} of {ENTRY_POINT_GROUP})"


def _choices(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.yaml"))]


def register() -> None:
    """Makes plug-in and resolvers known. Hydra by itself discovers plug-ins only below ``hydra_plugins``.

    And lets ``_target_`` name a class in a file of the current folder, however the program was started: behind all that
    is installed, so that no file of the user's takes a library's place.
    """
    Plugins.instance().register(EntryPointConfigs)
    schema.register()
    OmegaConf.register_new_resolver("ceil_div", ceil_div, replace=True)
    OmegaConf.register_new_resolver("declared", declared, replace=True)
    OmegaConf.register_new_resolver("table_rows", table_rows, replace=True)
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())


def ceil_div(amount: int, size: int) -> int:
    """How many portions of ``size`` hold ``amount``: ``${ceil_div:${ppo.iterations},${ppo.eval_every}}``."""
    if size < 1:
        raise UserError(f"ppo.eval_every={size}: must be 1 or more")
    return -(-amount // size)


TABLE_ROWS: dict[str, int | None] = {"full": None, "smoke": 32, "batch": None}
"""Most rows of a table by ``data_size``. ``debug=fast`` takes one batch of them, however many there are."""


def table_rows(size: str) -> int | None:
    """How many rows of somebody's tables a run of this size reads: ``${table_rows:${data_size}}``."""
    if size not in TABLE_ROWS:
        raise UserError(f"data_size={size}: must be one of {', '.join(TABLE_ROWS)}")
    return TABLE_ROWS[size]


def declared(setting: str, _root_: DictConfig) -> Any:
    """What the stage's declaration says where nobody says otherwise: ``${declared:monitor}``."""
    value = getattr(declaration(_root_.stage.declaration), setting)
    return list(value) if isinstance(value, tuple) else value


def given_folder() -> tuple[str, ...]:
    """The words that name the folder of ``--config-dir``, for a process that is to read the same configs."""
    sources = HydraConfig.get().runtime.config_sources
    return next((("--config-dir", source.path) for source in sources if source.provider == "command-line"), ())


def conf_folder() -> str:
    """The folder of our configs: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).absolute().parent.parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")
