"""What can be wrong with ``key=value`` words, and the key that was probably meant.

Settings are checked by OmegaConf as the config is composed (``schema.py``); this file words what it finds. Keys of
objects (``penalty.lr``) have no schema: they take what their default is.
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
from hydra.errors import ConfigCompositionException, HydraException
from omegaconf import Container, DictConfig, EnumNode, ListConfig, Node, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationToMissingValueError,
    OmegaConfBaseException,
    ValidationError,
)

from csrlhf.config import contracts, search_path
from csrlhf.errors import UserError
from csrlhf.settings import Settings

HYDRA_OPTIONS = re.compile(r"--(config-(path|name|dir)|cfg|package|info|experimental-rerun)=")
FREE = re.compile(r"(trainer|hydra)\..*|data\.(sources\.\w+\.)?(validation|test)")
"""Keys checked by their owners: ``devices`` is a number, a list or a word, a split is a file or a share of another."""
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
    """Compares overridden values of keys without a schema with the type of their default.

    Raises:
        UserError: names the key, the value and the type that it takes.
    """
    hydra = HydraConfig.get()
    parsed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    keys = [item.key_or_group for item in parsed if not _is_choice(item) and not item.is_delete()]
    keys = [key for key in keys if not FREE.fullmatch(key) and not _has_schema(cfg, key)]
    if not keys:
        return
    defaults = compose("train", overrides=_choosing(parsed))
    for key in keys:
        expected, given = _default(defaults, key), OmegaConf.select(cfg, key)
        problem = type_problem(expected, given)
        if problem:
            raise UserError(f"{key}={'null' if given is None else given}: takes {problem} (its default is {expected})")


def check_added(cfg: DictConfig) -> None:
    """Refuses a ``+key=value`` that no object and no stage would ever look at.

    An object takes what is added below it: its constructor says no where it must (``+penalty.slope=2``).

    Raises:
        UserError: names the key that nothing reads.
    """
    hydra = HydraConfig.get()
    parsed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    added = [item.key_or_group for item in parsed if item.is_add() and not _is_choice(item)]
    for key in added:
        if not key.startswith(OPEN) and not _is_read(cfg, key):
            raise UserError(f"+{key}: nothing reads this key (python train.py --cfg job shows those that are read)")


def _is_choice(item: Override) -> bool:
    """Whether an override chooses files of a group; several at once are not among Hydra's ``runtime.choices``."""
    several = isinstance(item.value(), list) and item.key_or_group in _outer_groups()
    return several or item.key_or_group in HydraConfig.get().runtime.choices


def _outer_groups() -> list[str]:
    """The folders of ``conf/``, and of who adds to it."""
    return GlobalHydra.instance().config_loader().get_group_options("", results_filter=ObjectType.GROUP)


def _has_schema(cfg: DictConfig, key: str) -> bool:
    """Whether a key's type is known where the config is composed."""
    holder, _, name = key.rpartition(".")
    parent: Any = OmegaConf.select(cfg, holder) if holder else cfg
    node = parent._get_node(name) if isinstance(parent, DictConfig) else None
    return isinstance(node, Node) and node._metadata.ref_type is not Any


def _is_read(cfg: DictConfig, key: str) -> bool:
    """Whether an added key is part of an object or of an open mapping of settings, or referred to."""
    parts = key.split(".")
    holders: list[Any] = [OmegaConf.select(cfg, ".".join(parts[:depth])) for depth in range(1, len(parts))]
    kinds = [OmegaConf.get_type(holder) for holder in holders]
    if holders and isinstance(kinds[-1], type) and issubclass(kinds[-1], Settings):
        return False
    inside = any(isinstance(holder, DictConfig) and "_target_" in holder for holder in holders)
    asked = [key, *([".".join(parts[:-1])] if len(parts) > 2 else [])]  # itself, or the open mapping that it is part of
    raw = str(OmegaConf.to_container(cfg, resolve=False))
    return inside or any(f"${{{one}}}" in raw for one in asked)


def _choosing(parsed: Sequence[Override]) -> list[str]:
    """The words that choose groups' options, or leave groups out."""
    # a group that is left out is no choice, and an inner one not there
    groups = {*_outer_groups(), *HydraConfig.get().runtime.choices}
    return [item.input_line for item in parsed if item.key_or_group in groups and item.input_line]


def value_problem(cfg: DictConfig, key: str, given: Any) -> str | None:
    """Says what a key takes, or None where ``given`` is fine: by its schema, or by the value that it has.

    Args:
        cfg: the composed config.
        key: one of its keys.
        given: a plain value.
    """
    if FREE.fullmatch(key):
        return None
    if not _has_schema(cfg, key):
        plain = OmegaConf.create({"given": given})  # a mapping or a list as a config has it
        return type_problem(_default(cfg, key), plain.given)
    holder, _, name = key.rpartition(".")
    node: Any = OmegaConf.select(cfg, holder)._get_node(name) if holder else cfg._get_node(name)
    try:
        OmegaConf.update(cfg.copy(), key, given)
    except ValidationError:
        return _takes(node)
    return None


def _default(cfg: DictConfig, key: str) -> Any:
    """A key's value; None where it is made of one that has to be given and is not (``${data.folder}/train.jsonl``)."""
    try:
        return OmegaConf.select(cfg, key)
    except InterpolationToMissingValueError:
        return None


def type_problem(expected: Any, given: Any) -> str | None:
    """Says what a key takes whose default is ``expected``, or None where ``given`` is fine.

    A null default says nothing of the type, and a mapping (one value per constraint) can stand for a
    number; their owners check them. Null can stand for a word, a list or a mapping (none given), but is no number.
    """
    if expected is None or isinstance(given, DictConfig):
        return None
    if given is None and not isinstance(expected, bool | int | float):
        return None
    for kind, takes, words in KINDS:
        if isinstance(expected, kind):
            truth = isinstance(given, bool) and kind in (int, float)  # Python takes it for a number
            return None if isinstance(given, takes) and not truth else words
    return None


KINDS: tuple[tuple[Any, Any, str], ...] = (
    (bool, bool, "true or false"),
    (int, int, "a whole number"),
    (float, int | float, "a number"),
    (str, str | bool | int | float, "a word"),
    (ListConfig, ListConfig, "a list, [a,b]"),
    (DictConfig, DictConfig, "a mapping, {a: 1}"),
)
"""Kinds of defaults, what stands for one, and what it is called."""


def composition_problem(error: ConfigCompositionException, words: Sequence[str] | None = None) -> str:
    """The message for a config that cannot be composed; ``words``: all overrides, None is this call's."""
    cause = error.__cause__
    if found := re.search(r"Could not override '([^']*)'", str(error)):
        key, inner = found.group(1), str(getattr(cause, "full_key", ""))
        return unknown_key(inner if inner.startswith(f"{key}.") else key, words)  # the inner one of ppo={cilp: 0.1}
    if not isinstance(cause, OmegaConfBaseException) or not cause.full_key:
        return str(error)
    file = re.match(r"In '([^']*)'", str(error))
    place = f" (in {file.group(1)}.yaml)" if file else ""
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return unknown_key(str(cause.full_key), words, place)
    if not isinstance(cause, ValidationError):
        return str(error)
    given = "null" if cause.value is None else cause.value
    node: Any = cause.child_node
    if not isinstance(node, Node):
        return f"{cause.full_key}={given}{place}: {str(cause).splitlines()[0]}"
    default = "null" if node._is_none() else node
    known = "" if isinstance(node, DictConfig) and not node._is_none() else f" (its default is {default})"
    return f"{cause.full_key}={given}{place}: takes {_takes(node)}{known}"


def _takes(node: Node) -> str:
    """What a node of a schema takes."""
    kind: Any = node._metadata.ref_type
    if isinstance(node, EnumNode):
        words = f"one of {', '.join(node.enum_type.__members__)}"
    else:
        container = ListConfig if isinstance(node, ListConfig) else DictConfig
        wanted = container if isinstance(node, Container) else kind
        words = next(words for one, _, words in KINDS if one is wanted)
    return words + (", or null" if node._is_optional() else "")


def unknown_key(key: str, words: Sequence[str] | None = None, place: str = "") -> str:
    """The message for an override of a key that the config lacks; ``words``: all overrides, None is this call's."""
    words = sys.argv[1:] if words is None else words
    group = key.split(".")[0]
    if f"~{group}" in words and group != key:
        return f"{key}: {group} starts without keys, as +{group}._target_=... or ~{group} asks for; write +{key}=..."
    cfg = _composed(words)
    holder, _, name = key.rpartition(".")
    listed: Any = OmegaConf.select(cfg, holder) if holder else None
    close = []
    if OmegaConf.is_dict(listed) and "_target_" in listed and not difflib.get_close_matches(name, listed, 1, 0.85):
        taken = _arguments(holder, listed["_target_"])
        if name in taken:
            called = listed["_target_"].rpartition(".")[2]
            return f"{key}: {called} takes this key, and the YAML does not list it; write +{key}=..."
        close = [f"+{holder}.{other}" for other in difflib.get_close_matches(name, taken, 1) if other not in listed]
    close = close or difflib.get_close_matches(key, _known_keys(cfg), n=1, cutoff=0.6)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{key}{place}: there is no such key{meant} (python train.py --cfg job shows them all)"


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
