"""What all settings share: a dataclass per config group, each setting declared once, with its default and its range.

Hydra composes a config over these dataclasses (``csrlhf/config/schema.py``), so a wrong type, an unknown key or a null
is refused there. Ranges are looked at twice: when a config is composed, and when a settings object is built in Python.
Leaves out on purpose what fits no single setting; that is checked where the settings meet. Imports no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, field, fields
from enum import StrEnum
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from csrlhf.errors import UserError

RANGE = "range"
"""Key of a field's metadata: what its values must be, in the words of :func:`in_range`."""

_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    r"(?:>= )?(\S+?)(?: or (?:more|above))?": lambda value, bound: value >= bound,
    r"above (\S+)": lambda value, bound: value > bound,
}


def setting(default: Any, allowed: str) -> Any:
    """A field with a range.

    Args:
        default: its value where nobody says otherwise.
        allowed: ``>= 1``, ``1 or more``, ``0 or above``, ``above 0``, or an interval: ``in (0, 1]``. Numbers are finite
            whatever the range; null passes where the type has it. A list's range is that of each of its numbers.
    """
    return field(default=default, metadata={RANGE: allowed})


def in_range(value: float, allowed: str) -> bool:
    """Whether a number lies in a range, in the words of :func:`setting`."""
    if not math.isfinite(value):
        return False
    if allowed.startswith("in "):
        low, high = map(float, allowed[4:-1].split(","))
        above = value >= low if allowed[3] == "[" else value > low
        return above and (value <= high if allowed[-1] == "]" else value < high)
    for pattern, holds in _BOUNDS.items():
        if (found := re.fullmatch(pattern, allowed)) and re.fullmatch(r"-?[\d.]+", found[1]):
            return holds(value, float(found[1]))
    raise ValueError(f"{allowed!r}: no range")


class Settings:
    """Base of the dataclasses. Not frozen: OmegaConf would make a frozen one's config read-only."""

    key: ClassVar[str] = ""
    """The dotted key of the group; empty for settings that stand in several groups, which check them by name."""

    def __post_init__(self) -> None:
        """Check what was given in Python, and turn words into members of their enums."""
        if self.key:
            self.check(self.key)
            for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
                value = getattr(self, item.name)
                if isinstance(value, Settings) and not value.key:
                    value.check(f"{self.key}.{item.name}")

    def check(self, key: str) -> None:
        """Look at each setting by itself; subclasses add what concerns several.

        Args:
            key: the group's name, for messages.

        Raises:
            UserError: names the dotted key, the value and what it takes.
        """
        types = get_type_hints(type(self))
        for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, item.name)
            kinds = get_args(types[item.name]) or (types[item.name],)
            if value is None and type(None) in kinds:
                continue
            kind = kinds[0]
            if isinstance(kind, type) and issubclass(kind, StrEnum):
                setattr(self, item.name, choice(f"{key}.{item.name}", value, kind))
            elif kind in (int, float):
                listed = value if get_origin(types[item.name]) is list else [value]
                if not isinstance(listed, Sequence) or isinstance(listed, str):
                    raise UserError(f"{key}.{item.name}={value}: must be a list of numbers")
                for each in listed:
                    _check_number(f"{key}.{item.name}", each, item, kind, optional=type(None) in kinds)

    def refuse(self, key: str, name: str, allowed: str) -> None:
        """Raise a UserError for a setting whose value is not ``allowed``."""
        raise UserError(f"{key}.{name}={getattr(self, name)}: must be {allowed}")


def choice(key: str, value: Any, kind: type[StrEnum]) -> StrEnum:
    """The member of an enum that a word names.

    Raises:
        UserError: there is no such member; the message lists them.
    """
    if value not in tuple(kind):
        raise UserError(f"{key}={value}: must be one of {', '.join(kind)}")
    return kind(value)


def _check_number(key: str, value: Any, item: Field[Any], kind: type, optional: bool) -> None:
    also = ", or null" if optional else ""
    if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
        words = "a whole number" if kind is int else "a number"
        raise UserError(f"{key}={value}: must be {words}{also}")
    allowed = item.metadata.get(RANGE, "a finite number")
    if not math.isfinite(value):
        raise UserError(f"{key}={value}: must be {allowed}{' and finite' if RANGE in item.metadata else ''}{also}")
    if RANGE in item.metadata and not in_range(value, allowed):
        raise UserError(f"{key}={value}: must be {allowed}{also}")


def default_of(item: Field[Any]) -> Any:
    """A field's default, whichever way it is declared."""
    return item.default_factory() if item.default_factory is not MISSING else item.default
