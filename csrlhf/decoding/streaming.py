"""Tokens as readable pieces while they are drawn."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from transformers import PreTrainedTokenizerBase

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer writes for a character of which some bytes are still to come."""


class Pieces:
    """Hands over what each token adds to the text of one answer.

    All tokens are decoded again each time, since what a token reads like depends on those before it.

    Example:
        With ``show=print``, the tokens of ``"a b"`` print ``a`` and `` b``.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, show: Callable[[str], None]) -> None:
        self.tokenizer, self.show = tokenizer, show
        self._ids: list[int] = []
        self._shown = ""

    def take(self, token_B: Tensor) -> None:
        """The next token of an answer that is drawn alone."""
        self._ids.append(int(token_B[0]))
        text = self._text()
        if not text.endswith(BROKEN):
            self._hand_over(text)

    def close(self) -> None:
        """Hands over what was held back."""
        self._hand_over(self._text())

    def _text(self) -> str:
        return str(self.tokenizer.decode(self._ids, skip_special_tokens=True))

    def _hand_over(self, text: str) -> None:
        if len(text) > len(self._shown) and text.startswith(self._shown):
            self.show(text[len(self._shown) :])
            self._shown = text
