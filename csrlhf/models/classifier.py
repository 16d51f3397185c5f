"""Any sequence classifier of transformers as a reward or cost model, with the methods of a :class:`TextScorer`.

Legend: B dialogues, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.data.encoding import encode_dialogue, is_encoder_tokenizer, pad, pad_id, prompt_text
from csrlhf.errors import UserError
from csrlhf.models.checks import check_vocabulary
from csrlhf.models.loading import as_user_error, load_tokenizer, quiet_loading, resolve_path
from csrlhf.models.score_model import max_positions
from csrlhf.types import Prompt

MOST_TOKENS = 4096
"""Of a dialogue, where neither model nor tokenizer knows a limit."""


class ClassifierScorer(nn.Module):
    """Logits of (prompt, response) texts by a classifier of transformers.

    One label: its logit. Labels that exclude each other: of each the log-odds ``z - log Σ exp(z of the others)``, of
    two labels therefore the difference of their logits. Labels that do not (``multi_label_classification``): their
    logits.

    Args:
        folder: a folder, or a name on the Hub.
        outputs: the labels to score, in this order; the only label of a model may be given any name here. None for all
            labels of a model whose labels do not exclude each other.
        batch_size: dialogues per forward pass.

    Raises:
        UserError: it has no trained head, lacks a label, or its labels exclude each other and none is chosen.
    """

    def __init__(self, folder: str | Path, outputs: Sequence[str] | None = None, batch_size: int = 64) -> None:
        super().__init__()
        self.folder, self.batch_size = folder, batch_size
        self.model = _load(folder).requires_grad_(False).eval()
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(folder)
        check_vocabulary(self.model, self.tokenizer, str(folder))
        self.model.config.pad_token_id = pad_id(self.tokenizer)  # causal classifiers look for the last token by it
        limits = (max_positions(self.model), self.tokenizer.model_max_length, MOST_TOKENS)
        self.max_tokens = min(limit for limit in limits if limit is not None)
        config: Any = self.model.config
        labels = tuple(str(config.id2label[k]) for k in range(config.num_labels))
        self.exclusive = self.model.config.problem_type != "multi_label_classification"
        if outputs is None and self.exclusive and len(labels) > 1:
            raise UserError(
                f"{folder} has the labels {', '.join(labels)}: say which of them means harm, as a mapping "
                f"cost={{{labels[-1]}: {folder}}}"
            )
        self.outputs = tuple(labels if outputs is None else outputs)
        if len(labels) == len(self.outputs) == 1:
            labels = self.outputs
        missing = [name for name in self.outputs if name not in labels]
        if missing:
            raise UserError(f"{folder} has the labels {', '.join(labels)}, and not {', '.join(missing)}")
        self._columns = [labels.index(name) for name in self.outputs]

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Scores [B, K] in float32 or wider, in the order given; arguments as in :meth:`TextScorer.score`."""
        logits = [
            self._logits(
                prompts[start : start + self.batch_size],
                responses[start : start + self.batch_size],
                ended[start : start + self.batch_size],
            )
            for start in range(0, len(prompts), self.batch_size)
        ]
        logits_BL = torch.cat(logits)
        logits_BL = logits_BL.to(torch.promote_types(logits_BL.dtype, torch.float32))
        if self.exclusive and logits_BL.shape[1] > 1:
            logits_BL = log_odds(logits_BL)
        return logits_BL[:, self._columns]

    def _logits(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        device = next(self.model.parameters()).device
        if is_encoder_tokenizer(self.tokenizer):  # its own way of putting two texts together, token types included
            texts = [prompt_text(prompt) for prompt in prompts], list(responses)
            encoded = self.tokenizer(
                *texts,
                truncation="longest_first",
                max_length=self.max_tokens,
                padding=True,
                return_tensors="pt",
                split_special_tokens=True,  # "[SEP]" that somebody wrote is text
            )
            return self.model(**encoded.to(device)).logits
        dialogues = [
            encode_dialogue(self.tokenizer, prompt, response, self.max_tokens, bool(end))
            for prompt, response, end in zip(prompts, responses, ended, strict=True)
        ]
        # One by one where the end token pads as well: a causal classifier takes the last token that is no padding.
        size = 1 if pad_id(self.tokenizer) == format_of(self.tokenizer).turn_end else len(dialogues)
        parts = []
        for start in range(0, len(dialogues), size):
            ids_BS, mask_BS = pad(dialogues[start : start + size], pad_id(self.tokenizer))
            parts.append(self.model(input_ids=ids_BS.to(device), attention_mask=mask_BS.long().to(device)).logits)
        return torch.cat(parts)


def log_odds(logits_BL: Tensor) -> Tensor:
    """``log p / (1 - p)`` of each of several labels of which one holds [B, L]."""
    own_BLL = torch.eye(logits_BL.shape[1], dtype=torch.bool, device=logits_BL.device)
    others_BLL = logits_BL.unsqueeze(1).masked_fill(own_BLL, -torch.inf)
    return logits_BL - others_BLL.logsumexp(-1)


def _load(folder: str | Path) -> PreTrainedModel:
    path = resolve_path(folder)
    with as_user_error(folder), quiet_loading():
        loaded: Any = AutoModelForSequenceClassification.from_pretrained(
            path, dtype="float32", output_loading_info=True
        )
    model, info = loaded
    if info["missing_keys"]:
        raise UserError(
            f"{folder} holds no trained classifier ({', '.join(sorted(info['missing_keys'])[:2])} would be drawn at "
            "random); name a reward or cost model"
        )
    return model
