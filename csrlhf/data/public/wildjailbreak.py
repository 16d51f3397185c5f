"""WildJailbreak (Jiang et al., arXiv 2406.18510): requests and jailbreaks, harmful and harmless, with answers.

Columns: ``vanilla, adversarial, completion, data_type``; of the evaluation split ``adversarial, label, data_type``.
``data_type`` is ``vanilla_harmful``, ``vanilla_benign``, ``adversarial_harmful`` or ``adversarial_benign``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Line, Record
from csrlhf.data.tables.source import TableData
from csrlhf.types import DemonstrationRow, Prompt

TYPES = {
    f"{style}_{kind}": (style, kind == "harmful")
    for style in ("vanilla", "adversarial")
    for kind in ("harmful", "benign")
}


class WildJailbreak(TableData):
    """Prompts, and the completions (refusals of harmful requests, answers to harmless ones) as demonstrations.

    The arguments are those of ``TableData``. ``meta["attack"]`` is ``plain`` or ``adversarial``. Harmless prompts are
    ``keyword_alike``: the set made them to sound harmful.
    """

    name = "wildjailbreak"
    needs: ClassVar[Mapping[Kind, str]] = {
        "prompts": "data_type, vanilla or adversarial",
        "demonstrations": "data_type, vanilla or adversarial, completion",
    }
    reads: ClassVar[Sequence[str]] = ("vanilla", "adversarial", "completion", "data_type")
    hub_options: ClassVar[Mapping[str, Any]] = {"delimiter": "\t", "keep_default_na": False}

    def prompt_of(self, record: Record) -> Prompt:
        """The jailbreak where the row is one, else the request."""
        return record.text(record.word("data_type", TYPES)[0])

    def meta_of(self, record: Record) -> dict[str, Any]:
        style, harmful = record.word("data_type", TYPES)
        attack = "plain" if style == "vanilla" else style
        return prompt_meta(harmful, harmless_word="keyword_alike", attack=attack)

    def demonstrations_of(self, line: Line) -> list[DemonstrationRow]:
        record = line.record
        return [DemonstrationRow(line.prompt, record.text("completion"))] if record.has("completion") else []
