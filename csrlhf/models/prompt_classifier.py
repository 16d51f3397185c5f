"""Which prompts a classifier of transformers puts a label on: a constraint's ``where`` without a column.

constraints.harm.where={_target_: csrlhf.models.prompt_classifier.PromptClassifier, folder: FOLDER, label: harmful}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from csrlhf.data.encoding import is_encoder_tokenizer, pad_id, prompt_text
from csrlhf.models.classifier import ClassifierScorer
from csrlhf.types import Prompt, PromptRow


class PromptClassifier:
    """Selects prompts whose log-odds for a label are above a limit; the model reads the prompt's text alone.

    Loaded when it is first asked, on the CPU, and asked once about each text.
    """

    def __init__(self, folder: str | Path, label: str, above: float = 0.0, batch_size: int = 32) -> None:
        """Describe it.

        Args:
            folder: a folder, or a name on the Hub, of a sequence classifier.
            label: the one that selects; the only label of a model may be given any name.
            above: the limit, in logits: 0 is where the label is as likely as not.
            batch_size: prompts per forward pass.
        """
        self.folder, self.label, self.above, self.batch_size = folder, label, float(above), int(batch_size)
        self._scorer: _OfPrompts | None = None
        self._known: dict[str, bool] = {}

    def __call__(self, rows: Sequence[PromptRow]) -> list[bool]:
        """Whether each prompt has the label."""
        texts = [prompt_text(row.prompt) for row in rows]
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            if self._scorer is None:
                self._scorer = _OfPrompts(self.folder, (self.label,), self.batch_size)
            scores = self._scorer.score(fresh, [""] * len(fresh), [True] * len(fresh))[:, 0].tolist()
            self._known |= {text: score > self.above for text, score in zip(fresh, scores, strict=True)}
        return [self._known[text] for text in texts]


class _OfPrompts(ClassifierScorer):
    """The scorer, given one text where it usually is given two."""

    def _logits(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        texts = [prompt_text(prompt) for prompt in prompts]
        # One by one where the end token pads as well: a causal classifier takes the last token that is no padding.
        pads_with_end = pad_id(self.tokenizer) == self.tokenizer.eos_token_id
        size = 1 if pads_with_end and not is_encoder_tokenizer(self.tokenizer) else len(texts)
        parts = []
        for start in range(0, len(texts), size):
            encoded = self.tokenizer(
                texts[start : start + size],
                truncation=True,
                max_length=self.max_tokens,
                padding=True,
                padding_side="right",
                return_tensors="pt",
                split_special_tokens=True,  # "[SEP]" that somebody wrote is text
            )
            parts.append(self.model(**encoded).logits)
        return torch.cat(parts)
