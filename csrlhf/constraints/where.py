"""Which prompts a constraint is about: all of them, or those of some kinds.

An average over all prompts lets harmless ones pay for harmful ones: a rate of 3 % over a mix with 45 % harmful prompts
is 6.7 % of these. A constraint with ``where`` is the statistic of the prompts that it selects, with a threshold of its
own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from csrlhf.errors import UserError
from csrlhf.types import PromptRow

Selector = Callable[[Sequence[PromptRow]], Sequence[bool]]
"""Tells of each prompt whether the constraint is about it; a pure function of the prompt and its meta data."""


class Columns:
    """Prompts whose meta data have given values: one of those listed, in every column named.

    Example: ``Columns({"category": ["violence", "theft"], "framing": "plain"})``.
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        """Args: columns: from a column to a value or a list of values; compared as text, so that ``1`` is ``"1"``."""
        if not columns:
            raise UserError("constraints.<name>.where={}: names no column; write null for all prompts")
        self.columns: dict[str, frozenset[str]] = {}
        for name, values in columns.items():
            listed = [values] if isinstance(values, str) or not isinstance(values, Sequence) else values
            if not listed:
                raise UserError(f"constraints.<name>.where.{name}=[]: selects nothing; list one value or more")
            self.columns[str(name)] = frozenset(map(str, listed))

    def __call__(self, rows: Sequence[PromptRow]) -> list[bool]:
        """Whether each prompt has them all."""
        return [all(str(row.meta.get(name)) in values for name, values in self.columns.items()) for row in rows]

    def check(self, name: str, rows: Sequence[PromptRow]) -> None:
        """Raise a UserError where a column or a value occurs nowhere.

        Args:
            name: of the constraint.
            rows: the prompts to train on.
        """
        for column, values in self.columns.items():
            known = {str(row.meta[column]) for row in rows if column in row.meta}
            if not known:
                columns = ", ".join(sorted({key for row in rows for key in row.meta})) or "none"
                raise UserError(f"constraints.{name}.where.{column}: no prompt has such a column; there are: {columns}")
            if unknown := sorted(values - known):
                shown = ", ".join(sorted(known)[:20])
                raise UserError(f"constraints.{name}.where.{column}={unknown[0]}: no prompt has it; there are: {shown}")


def described(where: Selector) -> str:
    """In words, which prompts it selects: ``prompts with category harmful or odd``."""
    if not isinstance(where, Columns):
        return f"prompts that {getattr(where, '__name__', type(where).__name__)} selects"
    parts = (f"{name} {' or '.join(sorted(values))}" for name, values in where.columns.items())
    return f"prompts with {' and '.join(parts)}"


def selector(where: Mapping[str, Any] | Selector | None) -> Selector | None:
    """What a constraint's ``where`` asks for: columns, a selector of one's own, or None for all prompts."""
    if where is None or not isinstance(where, Mapping):
        if where is not None and not callable(where):
            raise UserError(
                f"constraints.<name>.where={where!r}: give columns, e.g. {{category: [harmful]}}, or a _target_ that "
                "is called with prompts"
            )
        return where
    return Columns(where)


def select(name: str, where: Selector, rows: Sequence[PromptRow]) -> list[bool]:
    """Ask a selector.

    Raises:
        UserError: it does not give one bool for each prompt.
    """
    found = [bool(one) for one in where(rows)]
    if len(found) != len(rows):
        raise UserError(
            f"constraints.{name}.where: {type(where).__name__} answered {len(found)} of {len(rows)} prompts"
        )
    return found


def check_selected(name: str, where: Selector, rows: Sequence[PromptRow], split: str = "training") -> float:
    """The share of the prompts that are selected.

    Args:
        name: of the constraint.
        where: its selector.
        rows: the prompts.
        split: whose they are, for the message.

    Raises:
        UserError: a column or value occurs nowhere, or no prompt is selected.
    """
    if isinstance(where, Columns):
        where.check(name, rows)
    chosen = select(name, where, rows)
    if not any(chosen):
        raise UserError(f"constraints.{name}.where: selects none of the {len(rows)} {split} prompts")
    return sum(chosen) / len(rows)
