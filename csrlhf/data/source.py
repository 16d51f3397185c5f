"""What a data set offers to the stages, whichever it is. Encoding and batching live elsewhere.

Flow: a source makes rows (text), a DataModule encodes and batches them for one stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

from csrlhf.errors import UserError
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
Kind = Literal["prompts", "demonstrations", "preferences", "labelled"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of rows; each is the name of a method of ``DataSource``."""
KIND_WORDS: dict[Kind, str] = {
    "prompts": "prompts",
    "demonstrations": "demonstrations",
    "preferences": "preferences",
    "labelled": "labelled responses",
}
"""The kinds in messages."""


class MissingRowsError(UserError):
    """A source is in order, and lacks the kind of row that was asked for."""


def check_split(split: str) -> Split:
    """Return ``split``, or raise a UserError that names the three splits."""
    if split not in SPLITS:
        raise UserError(f"split is {split!r}; use one of {', '.join(SPLITS)}")
    return split


@dataclass(frozen=True)
class Verdict:
    """The truth about one response, as a world with a ground truth knows it.

    Example: ``Verdict(unsafe=False, helped=True, refused=False, kind="compliance", privacy=False)``.

    Attributes:
        unsafe: the prompt is harmful and the response attempts to comply, however badly.
        helped: correct, on-topic compliance (for harmful prompts as well).
        refused: a refusal or a redirect; on a harmless prompt that is a false refusal.
        kind: the behaviour, e.g. ``compliance``, ``garbled``, ``refusal``, ``redirect``, ``off_topic``.
        privacy: the response repeats the person's name that the prompt gave.
    """

    unsafe: bool
    helped: bool
    refused: bool
    kind: str
    privacy: bool


@runtime_checkable
class Oracle(Protocol):
    """Judges responses without error. Only generated worlds have one."""

    def judge(self, row: PromptRow, response: str) -> Verdict:
        """Return the verdict on ``response`` (decoded text without special tokens) to ``row``."""
        ...


@runtime_checkable
class DataSource(Protocol):
    """Rows for every stage, by split (``train``, ``validation``, ``test``).

    A method raises MissingRowsError, saying what is missing and what to do, where a source lacks that kind of row. A
    source may have methods more: ``has(split)``, whether it was given this split; ``offers(kind, split)``,
    of a source whose splits serve different stages, whether one holds this kind of row; ``places(split)``, where each
    prompt stands (``file:line``), by its normalised text, for messages about prompts; and, of a generated world,
    ``certification_prompts(size, excluded)``, prompts that no split holds. It may have attributes more: ``too_long``
    and ``bad_rows``, what happens to rows that do not fit their stage (``csrlhf.data.intake``), and ``left_out``, the
    rows that it has left out itself, counted by split and reason.

    Attributes:
        name: short name for tables and logs.
        constraints: names of the columns of ``LabelledRow.unsafe``, in order.
        oracle: the judge of a generated world; None for real data.
    """

    name: str
    constraints: tuple[str, ...]

    @property
    def oracle(self) -> Oracle | None: ...

    def demonstrations(self, split: Split) -> list[DemonstrationRow]: ...

    def preferences(self, split: Split) -> list[PreferenceRow]: ...

    def labelled(self, split: Split) -> list[LabelledRow]: ...

    def prompts(self, split: Split) -> list[PromptRow]: ...

    def hashes(self) -> dict[str, str]:
        """Return sha256 hex digests of what the rows are made from (files, generator parameters)."""
        ...
