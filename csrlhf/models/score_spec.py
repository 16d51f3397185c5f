"""Which score model a stage trains: the backbone to start from, and how a dialogue becomes scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.errors import UserError
from csrlhf.models.checks import check_vocabulary, is_causal
from csrlhf.models.loading import load_tokenizer, load_trunk
from csrlhf.models.score_model import ScoreModel
from csrlhf.models.settings import ScoreSettings
from csrlhf.models.tuning import tune


@dataclass(eq=False)
class ScoreSpec(ScoreSettings):
    """A description that costs nothing until ``build`` is called."""

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self._backbone)

    @property
    def _backbone(self) -> str:
        if self.backbone is None:
            raise UserError("model.score.backbone=null: name a folder, a Hub name or package:name/path")
        return self.backbone

    def build(self, outputs: Sequence[str]) -> ScoreModel:
        """The backbone's weights under a fresh head with these outputs.

        Raises:
            UserError: ``max_tokens`` is more than the backbone has positions for, its tokenizer does not fit it, or
                the pooling could not see the response.
        """
        trunk = load_trunk(self._backbone, self.options)
        check_vocabulary(trunk, self.tokenizer, f"model.score.backbone={self.backbone}")
        limit = max_positions(trunk)
        if limit is not None and limit < self.max_tokens:
            raise UserError(
                f"model.score.max_tokens={self.max_tokens}: {self.backbone} takes at most {limit} tokens "
                f"(max_position_embeddings); set model.score.max_tokens={limit} or less"
            )
        causal = is_causal(trunk)
        if self.pooling == "cls" and causal:
            raise UserError(
                f"model.score.pooling=cls: the first token of a causal model ({trunk.config.model_type}) has read "
                "nothing else; set model.score.pooling=last"
            )
        if self.pooling == "last" and causal:  # RoBERTa counts positions from its padding id: encoders keep theirs
            # What transformers' own classifiers find the last token by: no token that a dialogue may end with.
            pad, end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
            trunk.config.pad_token_id = None if pad == end else pad
        tune(trunk, self.tuning)
        return ScoreModel(trunk, outputs, self.pooling, self.max_tokens, self.rows_per_pass, self.head_bias)


def max_positions(trunk: PreTrainedModel) -> int | None:
    """The most tokens that a backbone takes; None without a limit (it lacks the entry, or writes -1).

    RoBERTa and its kin count positions from ``padding_idx + 1``: of 514 rows, 512 are for tokens.
    """
    limit = getattr(trunk.config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    offsets = [
        module.padding_idx + 1
        for name, module in trunk.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None
    ]
    return limit - max(offsets, default=0)
