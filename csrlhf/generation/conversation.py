"""A conversation with a decoder: turns are remembered where the policy's chat template takes several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from csrlhf.data.encoding import encode_prompt
from csrlhf.errors import UserError
from csrlhf.generation.candidates import Decoded
from csrlhf.generation.decoder import Decoder
from csrlhf.generation.speaker import NO_LIMIT

THREE_TURNS = (("user", "a"), ("assistant", "b"), ("user", "c"))


class Conversation:
    """Turns so far.

    The draws depend on the seed and on how many questions were asked before, so the same questions in the same order
    get the same answers, and a question that is asked again may get another.

    Attributes:
        remembers: whether the policy reads earlier turns.
        turns: of both sides, as the policy reads them. A question that was refused is none of them, nor is its refusal:
            these are not the policy's words, and behind one refusal it would go on refusing.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.remembers = takes_turns(decoder)
        self.turns: list[dict[str, str]] = []
        self._asked = 0

    def ask(self, text: str, show: Callable[[str], None] | None = None) -> Decoded:
        """Answer the next question; a turn that fails or is interrupted leaves no trace.

        Args:
            text: what the user says.
            show: takes the answer's pieces while it is drawn, where the decoder allows it.

        Raises:
            UserError: the question is empty, or the conversation leaves no room for an answer.
        """
        question = {"role": "user", "content": text}
        prompt: Any = [*self.turns, question]
        if len(prompt) == 1:
            prompt = text
        if show is not None:
            said = self.decoder.stream(prompt, self._asked, show)
        else:
            said = self.decoder([prompt], index=[self._asked])[0]
        self._asked += 1
        if self.remembers and not said.abstained:
            self.turns += [question, {"role": "assistant", "content": said.response}]
        return said

    def reset(self) -> None:
        """Forget all turns."""
        self.turns.clear()


def takes_turns(decoder: Decoder) -> bool:
    """Whether the policy's chat template has a place for earlier turns."""
    tokenizer = decoder.speaker.tokenizer
    try:
        turns = tuple({"role": role, "content": content} for role, content in THREE_TURNS)
        encode_prompt(tokenizer, turns, NO_LIMIT)
    except UserError:
        return False
    return True
