"""Two policies' answers to the same prompts, side by side."""

from __future__ import annotations

from collections.abc import Sequence

from csrlhf.errors import UserError
from csrlhf.evaluation.answers import Answer

Pair = tuple[Answer, Answer]


def pairs_by_prompt(challenger: Sequence[Answer], baseline: Sequence[Answer]) -> dict[str, list[Pair]]:
    """Answers with the same prompt and sample number, by prompt, in an order of their own.

    Raises:
        UserError: no prompt was answered by both.
    """
    other = {(answer.prompt_id, answer.sample): answer for answer in baseline}
    found: dict[str, list[Pair]] = {}
    for answer in sorted(challenger, key=lambda answer: (answer.prompt_id, answer.sample)):
        if (answer.prompt_id, answer.sample) in other:
            found.setdefault(answer.prompt_id, []).append((answer, other[answer.prompt_id, answer.sample]))
    if not found:
        raise UserError(
            f"policies {challenger[0].policy} and {baseline[0].policy} share no prompt_id and sample: let both respond "
            "to the same prompts"
        )
    return found
