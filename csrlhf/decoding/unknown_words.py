"""Words of a prompt that a tokenizer does not know, told in one warning.

Tokenizers that fall back to bytes or pieces read anything. One that knows whole words alone (the toy world's) puts its
unknown token in the place of any other, and the policy responds to a different question.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from csrlhf.errors import InputWarning
from csrlhf.types import Prompt

MOST_NAMED = 8
"""So many words fit into a line."""


def unknown_words(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, ids: Sequence[int]) -> list[str]:
    """The words that the unknown token stands for, in their order and each once.

    Args:
        tokenizer: any.
        prompt: what was asked.
        ids: the prompt as the tokenizer reads it.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id or unknown not in ids:  # GPT-2 has one token for both
        return []
    # the contents alone: roles are written by the chat template, in tokens of its own
    contents = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt]
    words = dict.fromkeys(word for content in contents for word in content.split())
    return [word for word in words if unknown in tokenizer.encode(word, add_special_tokens=False)]


class UnknownWords:
    """Warns of words that a tokenizer does not know, of each word once.

    Args:
        tokenizer: reads the prompts.
        name: of the model that it belongs to, for the message.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.tokenizer, self.name = tokenizer, name
        self._told: set[str] = set()

    def warn(self, read: Sequence[tuple[Prompt, Sequence[int]]]) -> None:
        """Look at prompts and their ids; one warning for all of them."""
        found = [unknown_words(self.tokenizer, *one) for one in read]
        fresh = [word for word in dict.fromkeys(word for words in found for word in words) if word not in self._told]
        if not fresh:
            return
        self._told.update(fresh)
        named = ", ".join(map(repr, fresh[:MOST_NAMED]))
        more = f" and {len(fresh) - MOST_NAMED} more" if len(fresh) > MOST_NAMED else ""
        prompts = f" (in {sum(map(bool, found))} of {len(read)} prompts)" if len(read) > 1 else ""
        warnings.warn(
            f"the tokenizer of {self.name} does not know {named}{more}{prompts}: the policy reads "
            f"{self.tokenizer.unk_token} in their place and answers another question; write as in its training data",
            InputWarning,
            stacklevel=2,
        )
