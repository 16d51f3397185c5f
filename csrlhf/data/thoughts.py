"""A response's thought: what a model writes between ``<think>`` and ``</think>`` before it answers.

A user does not see it, and what a user sees is what is scored unless ``model.thought`` says otherwise.
"""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"
MARKS = (OPEN, CLOSE)


def split_thought(text: str, opened: bool = False, drawn: bool = False) -> tuple[str | None, str]:
    """A response as its thought and what a user sees.

    Args:
        text: the response.
        opened: the prompt's last words are the mark that opens a thought, so the response need not repeat it.
        drawn: the response was sampled behind that prompt: without a closing mark it has not come to its answer. A
            response out of a file that has no marks at all is an answer.

    Returns:
        The thought, None where there is none, and the rest. A thought that was cut off leaves nothing to see.

    Example:
        ``split_thought("<think>Two and two.</think>Four.") == ("Two and two.", "Four.")``.
    """
    body = text.lstrip()
    begun = body.startswith(OPEN)
    if not begun and not (opened and (drawn or CLOSE in text)):
        return None, text
    thought, _, seen = (body.removeprefix(OPEN) if begun else text).partition(CLOSE)
    return thought.strip(), seen.lstrip()
