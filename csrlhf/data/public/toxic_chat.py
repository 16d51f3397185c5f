"""ToxicChat (Lin et al., arXiv 2310.17389): what people really asked a chatbot, with labels of toxicity and jailbreaks.

Columns: ``user_input, toxicity, jailbreaking`` (0 or 1 each). The labels are of what the user wrote; the answers in
``model_output`` have none, so they are no data for a cost model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from csrlhf.data.harmless import prompt_meta
from csrlhf.data.source import Kind
from csrlhf.data.tables.record import Record
from csrlhf.data.tables.source import TableData
from csrlhf.types import Prompt


class ToxicChat(TableData):
    """Prompts; the arguments are those of ``TableData``. ``meta["attack"]`` is ``jailbreak`` or ``plain``."""

    name = "toxic_chat"
    needs: ClassVar[Mapping[Kind, str]] = {"prompts": "user_input, toxicity"}
    reads: ClassVar[Sequence[str]] = ("user_input", "toxicity", "jailbreaking")

    def prompt_of(self, record: Record) -> Prompt:
        return record.text("user_input")

    def meta_of(self, record: Record) -> dict[str, Any]:
        """Harmful where the input is toxic."""
        attack = None
        if record.has("jailbreaking"):
            attack = "jailbreak" if record.choice("jailbreaking") else "plain"
        return prompt_meta(bool(record.choice("toxicity")), attack=attack)
