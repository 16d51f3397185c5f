"""Ranges, words and types of settings that are built in Python; what a config has is in ``tests/apps/test_cli.py``."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.settings import Settings, in_range, setting


class Colour(StrEnum):
    red = auto()
    blue = auto()


@dataclass
class Inner(Settings):
    share: float = setting(0.5, "in [0, 1)")


@dataclass
class Outer(Settings):
    key = "outer"

    count: int = setting(3, ">= 1")
    level: float | None = setting(None, "above 0")
    free: float = 0.0
    colour: Colour = Colour.red
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (">= 1", [1, 7], [0, -1]),
        ("1 or more", [1], [0.5]),
        ("0 or above", [0, 2.5], [-1e-9]),
        ("above 0", [1e-9], [0, -1]),
        ("in (0, 1)", [0.5], [0, 1, 2]),
        ("in [0, 1)", [0, 0.9], [-0.1, 1]),
        ("in (0, 1]", [1], [0, 1.1]),
        ("in [0, 1]", [0, 1], [-1, 2]),
    ],
)
def test_ranges(allowed: str, inside: list[float], outside: list[float]) -> None:
    assert all(in_range(value, allowed) for value in inside)
    assert not any(in_range(value, allowed) for value in [*outside, math.inf, -math.inf, math.nan])


@pytest.mark.parametrize("allowed", ["small", "in 0 to 1", "0 or so"])
def test_words_that_are_no_range_are_our_own_mistake(allowed: str) -> None:
    with pytest.raises(ValueError, match=r"no range|could not convert|not enough values"):
        in_range(1, allowed)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, r"^outer\.count=0: must be >= 1$"),
        ({"count": 1.5}, r"^outer\.count=1\.5: must be a whole number$"),
        ({"count": True}, r"^outer\.count=True: must be a whole number$"),
        ({"count": None}, r"^outer\.count=None: must be a whole number$"),
        ({"level": 0.0}, r"^outer\.level=0\.0: must be above 0, or null$"),
        ({"level": "low"}, r"^outer\.level=low: must be a number, or null$"),
        ({"free": math.nan}, r"^outer\.free=nan: must be a finite number$"),
        ({"colour": "green"}, r"^outer\.colour=green: must be one of red, blue$"),
        ({"inner": Inner(share=1.0)}, r"^outer\.inner\.share=1\.0: must be in \[0, 1\)$"),
    ],
)
def test_what_is_out_of_range_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Outer(**given)


def test_a_word_becomes_a_member_and_null_passes_where_the_type_has_it() -> None:
    made = Outer(colour="blue", level=None)  # type: ignore[arg-type]  # as from JSON
    assert made.colour is Colour.blue
    assert made.level is None
