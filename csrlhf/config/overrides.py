"""What can be wrong with ``key=value`` words, and the key that was probably meant.

Types are those of the defaults: a key whose default is a whole number takes whole numbers. Ranges are
checked where the values are used.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import contracts, search_path
from csrlhf.errors import UserError

HYDRA_OPTIONS = re.compile(r"--(config-(path|name|dir)|cfg|package|info|experimental-rerun)=")
FREE = re.compile(r"(trainer|hydra)\..*|data\.(sources\.\w+\.)?(validation|test)")
"""Keys checked by their owners: ``devices`` is a number, a list or a word, a split is a file or a share of another."""
NULLABLE = re.compile(
    r"ppo\.(num_validation|selection\.max_reward_drop)|model\.score\.rows_per_pass|(sft|reward|cost)\.gradient_clip"
)
"""Keys with a number as default for which null means all, or none."""
OPEN = ("callbacks.", "logger.", "hydra.", "stage.")
"""Mappings whose entries are all used, whatever they are called."""


def refuse_options(words: Iterable[str]) -> None:
    """Raises a UserError for ``--key=value``, the habit of other programs."""
    for word in words:
        if re.match(r"--?[\w./@]+=", word) and not HYDRA_OPTIONS.match(word):
            raise UserError(f"'{word}': write {word.lstrip('-')}, without dashes")


SWITCHES = {"true": "trace", "false": "none"}
"""What ``debug`` was before it became a group: Hydra takes no truth value for a choice."""

TRACED = ("true", "trace", "fast", "overfit")
"""Choices of ``debug`` that show tracebacks."""


def prepared(words: Sequence[str]) -> list[str]:
    """The words as Hydra is to read them: ``debug=true`` as the choice that it stands for, and :func:`from_nothing`."""
    chosen = [
        f"debug={SWITCHES.get(word[6:].lower(), word[6:])}" if word.startswith("debug=") else word for word in words
    ]
    return from_nothing(chosen)


def shows_tracebacks(words: Iterable[str]) -> bool:
    """Whether some ``debug=...`` among the words asks for the traceback beside an error's one line."""
    return any(word.startswith("debug=") and word[6:].lower() in TRACED for word in words)


def from_nothing(words: Sequence[str]) -> list[str]:
    """The words, with ``~penalty`` before ``+penalty._target_=my_penalty.Mine``: a plus builds an object from nothing.

    The keys of the default choice were made for another class. With a choice named beside it, Hydra says what is wrong.
    """
    named = {re.split("[=@]", word.lstrip("+~"))[0] for word in words}
    conf = Path(search_path.conf_folder())
    result = []
    for word in words:
        added = re.match(r"\+(\w+)\._target_=", word)
        if added and added.group(1) not in named and (conf / added.group(1)).is_dir():
            result.append(f"~{added.group(1)}")
        result.append(word)
    return result


def refuse_chdir() -> None:
    """Raises a UserError where Hydra is asked to leave the current folder, from which all paths are counted."""
    if HydraConfig.get().job.chdir:
        raise UserError(
            "hydra.job.chdir=true: paths (artifacts=, inputs.*, data.*) count from the folder where the program is "
            "started, so it stays there; set artifacts= to write elsewhere"
        )


def check_types(cfg: DictConfig) -> None:
    """Compares each overridden value with the type of its default.

    Raises:
        UserError: names the key, the value and the type that it takes.
    """
    hydra = HydraConfig.get()
    groups = set(hydra.runtime.choices)
    parsed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    values = [item for item in parsed if item.key_or_group not in groups and not item.is_delete()]
    if not values:
        return
    chosen = _choosing(parsed)
    defaults = compose("train", overrides=chosen)
    for item in values:
        key = item.key_or_group
        expected = OmegaConf.select(defaults, key)
        given = OmegaConf.select(cfg, key)
        if FREE.fullmatch(key) or (given is None and NULLABLE.fullmatch(key)):
            continue
        problem = type_problem(expected, given)
        if problem:
            raise UserError(f"{key}={'null' if given is None else given}: takes {problem} (its default is {expected})")


def check_added(cfg: DictConfig) -> None:
    """Refuses a ``+key=value`` that no object and no stage would ever look at.

    An object takes what is added below it (``+penalty.slope=2``: its constructor says no where it must), and a
    mapping that some stage refers to as a whole (``${sft.optimizer}``) is passed on whole.

    Raises:
        UserError: names the key that nothing reads.
    """
    hydra = HydraConfig.get()
    groups = dict(hydra.runtime.choices)
    parsed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    added = [item.key_or_group for item in parsed if item.is_add() and item.key_or_group not in groups]
    added = [key for key in added if not key.startswith(OPEN)]
    if not added:
        return
    chosen = [word for word in _choosing(parsed) if not word.startswith("stage=")]
    stages = GlobalHydra.instance().config_loader().get_group_options("stage")
    configs = [compose("train", overrides=[*chosen, f"stage={stage}"]) for stage in stages]
    texts = (str(OmegaConf.to_container(config, resolve=False)) for config in configs)
    referred = {name for text in texts for name in re.findall(r"\$\{(?:oc\.select:)?([\w.]+)", text)}
    for key in added:
        parts = key.split(".")
        holders = [".".join(parts[:depth]) for depth in range(1, len(parts))]
        inside_object = any(OmegaConf.select(cfg, f"{holder}._target_") for holder in holders)
        if not inside_object and referred.isdisjoint((key, *holders)):
            raise UserError(f"+{key}: nothing reads this key (python train.py --cfg job shows those that are read)")


def _choosing(parsed: Sequence[Override]) -> list[str]:
    """The words that choose groups' options, or leave groups out."""
    there = GlobalHydra.instance().config_loader().get_group_options("", results_filter=ObjectType.GROUP)
    groups = {
        *there,
        *HydraConfig.get().runtime.choices,
    }  # a group that is left out is no choice, and an inner one not there
    return [item.input_line for item in parsed if item.key_or_group in groups and item.input_line]


def type_problem(expected: Any, given: Any) -> str | None:
    """Says what a key takes whose default is ``expected``, or None where ``given`` is fine.

    A null default says nothing of the type, and a mapping (one value per constraint) can stand for a
    number; their owners check them. Null can stand for a word, a list or a mapping (none given), but is no number.
    """
    if expected is None or isinstance(given, DictConfig):
        return None
    if given is None and not isinstance(expected, bool | int | float):
        return None
    if isinstance(expected, bool):
        return None if isinstance(given, bool) else "true or false"
    if isinstance(expected, int):
        return None if isinstance(given, int) and not isinstance(given, bool) else "a whole number"
    if isinstance(expected, float):
        return None if isinstance(given, int | float) and not isinstance(given, bool) else "a number"
    if isinstance(expected, str):
        return None if isinstance(given, str | int | float) and not isinstance(given, bool) else "a word"
    if OmegaConf.is_list(expected):
        return None if OmegaConf.is_list(given) else "a list, [a, b]"
    return "a mapping, {a: 1}"


def unknown_key(key: str, words: Sequence[str] | None = None) -> str:
    """The message for an override of a key that the config lacks; ``words``: all overrides, None is this call's."""
    words = sys.argv[1:] if words is None else words
    group = key.split(".")[0]
    if f"~{group}" in words and group != key:
        return f"{key}: {group} starts without keys, as +{group}._target_=... or ~{group} asks for; write +{key}=..."
    cfg = _composed(words)
    holder, _, name = key.rpartition(".")
    listed = OmegaConf.select(cfg, holder) if holder else None
    close = []
    if OmegaConf.is_dict(listed) and "_target_" in listed and not difflib.get_close_matches(name, listed, 1, 0.85):
        taken = _arguments(holder, listed["_target_"])
        if name in taken:
            called = listed["_target_"].rpartition(".")[2]
            return f"{key}: {called} takes this key, and the YAML does not list it; write +{key}=..."
        close = [f"+{holder}.{other}" for other in difflib.get_close_matches(name, taken, 1) if other not in listed]
    close = close or difflib.get_close_matches(key, _known_keys(cfg), n=1, cutoff=0.6)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{key}: there is no such key{meant} (python train.py --cfg job shows them all)"


def _arguments(key: str, target: str) -> list[str]:
    """What the class of an object takes: of some forty keys of Lightning's Trainer its YAML lists ten.

    Importing the class may take seconds: asked only where no listed key is a likely answer.
    """
    try:
        return list(inspect.signature(contracts.load(key, target)).parameters)
    except (UserError, TypeError, ValueError):  # no such class, or one whose arguments Python does not know
        return []


def unknown_choice(config: str | None, options: Sequence[str] | None) -> str | None:
    """The message for ``group=option`` with an option that does not exist; None where it is something else."""
    if not config or options is None or "/" not in config:
        return None
    group, option = config.rsplit("/", 1)
    close = difflib.get_close_matches(option, options, n=1, cutoff=0.5)
    meant = f"; did you mean {group}={close[0]}?" if close else "."
    return f"{group}={option}: there is no such choice{meant} Choose from: {', '.join(options)}"


def _composed(words: Sequence[str]) -> DictConfig:
    """The config as it is with the groups that the user chose correctly."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        loader: ConfigLoader = GlobalHydra.instance().config_loader()
        groups = loader.get_group_options("", results_filter=ObjectType.GROUP)
        chosen = [word for word in words if word.split("=")[0] in groups]
        try:
            return compose("train", overrides=chosen)
        except HydraException:  # the message about the key matters more than a wrong choice beside it
            return compose("train")


def _known_keys(cfg: DictConfig) -> list[str]:
    """All groups, and all keys of the config."""
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        loader: ConfigLoader = GlobalHydra.instance().config_loader()
        groups = loader.get_group_options("", results_filter=ObjectType.GROUP)
    return [*groups, *_dotted(OmegaConf.to_container(cfg, resolve=False))]


def _dotted(node: Any, prefix: str = "") -> list[str]:
    if not isinstance(node, dict):
        return []
    keys = []
    for name, value in node.items():
        keys += [f"{prefix}{name}", *_dotted(value, f"{prefix}{name}.")]
    return keys
