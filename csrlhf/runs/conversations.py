"""How a run's model writes conversations: what is said of it on the terminal, and what ``csrlhf.json`` records."""

from __future__ import annotations

from typing import Any

from csrlhf.data.chat_templates import clock_date, kept
from csrlhf.runs.processes import is_first_process


def tell_clock(stage: str, tokenizer: Any) -> None:
    """One line where the chat template reads the clock: it is told a fixed day, or ids would change overnight.

    Args:
        stage: that runs.
        tokenizer: of its model; None where it has none.
    """
    if tokenizer is not None and is_first_process() and (day := clock_date(tokenizer)) is not None:
        print(f"{stage}: the chat template reads the clock, and is told {day} (model.chat_date)", flush=True)


def conversations_record(tokenizer: Any) -> dict[str, Any]:
    """The entry ``chat`` of a record: system prompt, template arguments, day and thoughts, where any was chosen."""
    found = {} if tokenizer is None else kept(tokenizer)
    return {"chat": found} if found else {}
