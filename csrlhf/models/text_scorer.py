"""A frozen score model that reads text: what PPO asks for rewards and costs.

The policy's tokens mean nothing to a scorer with another tokenizer, so prompts and responses are encoded afresh,
exactly as in the scorer's training (``encode_dialogue``): same template, same cut, an end token only where the
policy really ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from csrlhf.data.encoding import encode_dialogue, encode_response, is_encoder_tokenizer, pad, pad_id
from csrlhf.errors import UserError
from csrlhf.models.checks import check_vocabulary
from csrlhf.models.loading import load_tokenizer
from csrlhf.models.score_model import ScoreModel
from csrlhf.scorers.base import Scorer
from csrlhf.types import Prompt

NO_LIMIT = 10**9
"""More tokens than any dialogue has."""


class TextScorer(Scorer):
    """Scores of (prompt, response) texts by a model folder.

    Args:
        folder: what ``stage=reward`` or ``stage=cost`` wrote (or any folder of a ScoreModel with its tokenizer).
        max_tokens: longer dialogues are cut as in training; None takes the length the model was trained with.
        batch_size: dialogues per forward pass.
        outputs: which of the model's scores to give, by name and in this order; None for all. By position, a cost model
            with its columns the other way round would be held to the wrong thresholds in silence.

    Raises:
        UserError: the folder is missing, has no score head, lacks an output, or its tokenizer does not fit it.

    Example:
        ``TextScorer("artifacts/cost").score(["how do i ..."], ["first , ..."], [True])`` is a ``[1, K]`` tensor.
    """

    def __init__(
        self,
        folder: str | Path,
        max_tokens: int | None = None,
        batch_size: int = 64,
        outputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.model = ScoreModel.from_pretrained(folder).requires_grad_(False)
        self.tokenizer = load_tokenizer(folder)
        check_vocabulary(self.model.backbone, self.tokenizer, str(folder))
        self.max_tokens = max_tokens or self.model.max_tokens
        self.batch_size = batch_size
        self.folder, self.name = folder, str(folder)
        self.choose(self.model.outputs if outputs is None else outputs)

    def choose(self, outputs: Sequence[str]) -> None:
        """Give these of the model's scores from now on, by name and in this order."""
        self.outputs = tuple(outputs)
        missing = [name for name in self.outputs if name not in self.model.outputs]
        if missing:
            raise UserError(
                f"{self.folder} scores {', '.join(self.model.outputs)} and not {', '.join(missing)}: name a model that "
                "does, or change the constraints (constraint=..., data.constraints=[...])"
            )
        self._columns = [self.model.outputs.index(name) for name in self.outputs]

    @property
    def temperature_K(self) -> Tensor:
        """What the head's logits are divided by, in the order of ``outputs``."""
        return self.model.temperature_K[self._columns]

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Scores in the order given.

        Args:
            prompts: B prompts.
            responses: B responses, special tokens removed.
            ended: B times whether the response came to its end token.

        Returns:
            ``[B, K]`` in float32 or wider, one column per name in ``outputs``, on the model's device.
        """
        return self._pooled(prompts, responses, ended)[0]

    def cut_short(self, prompt: Prompt, response: str, ended: bool) -> bool:
        """Whether it reads the response without its end, because the dialogue is longer than it takes."""
        room = self.max_tokens - (3 if is_encoder_tokenizer(self.tokenizer) else 0)
        if len(encode_response(self.tokenizer, response, ended)) <= room - room // 2:  # the prompt gives way to it
            return False
        return len(encode_dialogue(self.tokenizer, prompt, response, NO_LIMIT, ended)) > self.max_tokens

    @torch.no_grad()
    def scores_and_features(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]
    ) -> tuple[Tensor, Tensor]:
        """As ``score``, and the backbone's pooled states ``[B, H]`` that the scores are made of."""
        raw_BK, features_BH = self._pooled(prompts, responses, ended)
        return self.scale(raw_BK, self.name), features_BH

    def _pooled(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]
    ) -> tuple[Tensor, Tensor]:
        self.model.eval()  # a parent module's train() must not switch dropout on in a frozen model
        dialogues = [
            encode_dialogue(self.tokenizer, prompt, response, self.max_tokens, bool(end))
            for prompt, response, end in zip(prompts, responses, ended, strict=True)
        ]
        device, width = self.model.head.weight.device, self.model.head.in_features
        dtype = torch.promote_types(self.model.head.weight.dtype, torch.float32)
        scores_BK = torch.empty(len(dialogues), self.model.num_outputs, device=device, dtype=dtype)
        features_BH = torch.empty(len(dialogues), width, device=device, dtype=dtype)
        # Sorted by length, so that a long dialogue pads its own batch only.
        order = sorted(range(len(dialogues)), key=lambda row: len(dialogues[row]))
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            ids_BS, mask_BS = pad([dialogues[row] for row in rows], pad_id(self.tokenizer))
            where = torch.tensor(rows, device=device)
            pooled_BH = self.model.features(ids_BS.to(device), mask_BS.to(device))
            features_BH[where] = pooled_BH.to(dtype)
            scores_BK[where] = self.model.scores(pooled_BH)
        return scores_BK[:, self._columns], features_BH
