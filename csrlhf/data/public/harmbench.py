"""HarmBench (Mazeika et al., arXiv 2402.04249): behaviours that a model should not show, as requests.

Columns of its files: ``Behavior, FunctionalCategory, SemanticCategory, ContextString, BehaviorID``; of the Hub's copy:
``prompt, category`` and, for contextual ones, ``context``. All of them are harmful (those of the functional category
``copyright`` ask for protected texts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Record
from csrlhf.data.tables.source import TableData
from csrlhf.types import Prompt

BETWEEN = "\n\n---\n\n"
"""What the authors put between a context and the behaviour that refers to it."""


class HarmBench(TableData):
    """Prompts for the evaluation; the arguments are those of ``TableData``."""

    name = "harmbench"
    needs: ClassVar[Mapping[Kind, str]] = {"prompts": "Behavior, SemanticCategory (or prompt, category)"}
    reads: ClassVar[Sequence[str]] = (
        "Behavior", "SemanticCategory", "FunctionalCategory", "ContextString", "BehaviorID", "prompt", "category",
        "context",
    )  # fmt: skip

    def prompt_of(self, record: Record) -> Prompt:
        """The behaviour, behind its context where it has one."""
        behavior = record.text("prompt" if record.has("prompt") else "Behavior")
        context = next((name for name in ("ContextString", "context") if record.has(name)), None)
        return behavior if context is None else record.text(context) + BETWEEN + behavior

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Harmful, with both of the set's categories and its id."""
        harm = record.text("category" if record.has("category") else "SemanticCategory")
        known = {"kind": "FunctionalCategory", "id": "BehaviorID"}
        words = {name: record.text(column) for name, column in known.items() if record.has(column)}
        return prompt_meta(True, harm=harm, **words)
