"""Demonstrations for supervised fine-tuning: prompt and response as ids, the loss on the response alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from csrlhf.data.encoding import encode_prompt, encode_response, pad, pad_id
from csrlhf.data.source import DataSource
from csrlhf.data.training_length import require_training
from csrlhf.errors import UserError
from csrlhf.ops.noise import permutation


@dataclass
class DemonstrationBatch:
    """Right-padded dialogues.

    Attributes:
        input_ids_BS: prompt and response ids, the end token last.
        mask_BS: True on real tokens.
        response_mask_BS: True on response tokens (the end token included): where the loss is taken.
    """

    input_ids_BS: Tensor
    mask_BS: Tensor
    response_mask_BS: Tensor


class DemonstrationDataModule(LightningDataModule):
    """Batches of demonstrations; the order of rows is a pure function of (seed, epoch)."""

    def __init__(
        self,
        source: DataSource,
        tokenizer: PreTrainedTokenizerBase,
        batch_size: int = 64,
        max_tokens: int = 64,
        seed: int = 0,
    ) -> None:
        """Build the module.

        Args:
            source: offers ``demonstrations(split)``.
            tokenizer: the policy's.
            batch_size: dialogues per step.
            max_tokens: room for prompt and response; a longer response is cut (and gets no end token).
            seed: of the order.

        Raises:
            UserError: ``batch_size`` or ``max_tokens`` is out of range.
        """
        super().__init__()
        if batch_size < 1:
            raise UserError(f"sft.batch_size={batch_size}: must be >= 1")
        if max_tokens < 8:
            raise UserError(f"sft.max_tokens={max_tokens}: a dialogue needs room for at least 8 tokens")
        self.source, self.tokenizer = source, tokenizer
        self.batch_size, self.max_tokens, self.seed = batch_size, max_tokens, seed
        self.encoded: dict[str, list[tuple[list[int], list[int]]]] = {}

    def setup(self, stage: str) -> None:
        """Encode both splits once."""
        if stage == "fit":
            require_training(self.trainer, "sft")
        for split in ("train", "validation"):
            if split not in self.encoded:
                self.encoded[split] = [
                    self._encode(row.prompt, row.response)
                    for row in self.source.demonstrations(split)  # type: ignore[arg-type]  # a Split by construction
                ]

    def _encode(self, prompt, response: str) -> tuple[list[int], list[int]]:
        prompt_ids = encode_prompt(self.tokenizer, prompt, self.max_tokens - 1)
        response_ids = encode_response(self.tokenizer, response)
        return prompt_ids, response_ids[: self.max_tokens - len(prompt_ids)]

    def train_dataloader(self) -> DataLoader:
        """Shuffled; the trainer asks again at each epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        order = permutation(self.seed, epoch, len(self.encoded["train"])).tolist()
        return self._loader([self.encoded["train"][row] for row in order], drop_last=True)

    def val_dataloader(self) -> DataLoader:
        """In order."""
        return self._loader(self.encoded["validation"])

    def _loader(self, rows: list[tuple[list[int], list[int]]], drop_last: bool = False) -> DataLoader:
        drop_last = drop_last and len(rows) >= self.batch_size
        return DataLoader(
            rows,  # type: ignore[arg-type]  # a list is a map-style data set
            batch_size=self.batch_size,
            shuffle=False,
            drop_last=drop_last,
            collate_fn=self._collate,
        )

    def _collate(self, rows: list[tuple[list[int], list[int]]]) -> DemonstrationBatch:
        input_ids_BS, mask_BS = pad([prompt + response for prompt, response in rows], pad_id(self.tokenizer))
        prompt_length_B1 = torch.tensor([len(prompt) for prompt, _ in rows]).unsqueeze(-1)
        is_response_BS = torch.arange(input_ids_BS.shape[1]) >= prompt_length_B1
        return DemonstrationBatch(input_ids_BS, mask_BS, mask_BS & is_response_BS)
