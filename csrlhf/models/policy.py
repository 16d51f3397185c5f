"""Which causal model a policy starts from: a folder or hub name, or a random one for the toy world."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.data.chat_templates import furnish
from csrlhf.errors import UserError
from csrlhf.models.adapters import check_tuning
from csrlhf.models.checks import check_end_token, check_policy, check_vocabulary
from csrlhf.models.loading import build_policy, load_policy, load_tokenizer, name_ends, seeded
from csrlhf.models.settings import ChatSettings, SavedAs, Tuning
from csrlhf.models.tuning import tune


class PolicySpec:
    """A description that costs nothing until ``build`` is called."""

    def __init__(
        self,
        path: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        seed: int = 0,
        tuning: Tuning | None = None,
        save: SavedAs = SavedAs.merged,
        chat: ChatSettings | None = None,
    ) -> None:
        """Describe a policy.

        Args:
            path: a folder or hub name of a causal model with its tokenizer; or None.
            architecture: ``AutoConfig`` arguments of a randomly initialised model, where there is no path.
            tokenizer: of the randomly initialised model.
            seed: of random weights, adapters included.
            tuning: which weights are trained; None for all.
            save: what a folder of the trained policy holds.
            chat: how conversations are written; None as the tokenizer has it.
        """
        if (path is None) == (architecture is None):
            raise UserError("model.policy: give either path (a pretrained model) or architecture (a random one)")
        if path is None and tokenizer is None:
            raise UserError("model.policy.tokenizer: a randomly initialised model needs one")
        self.path, self.architecture, self.given_tokenizer, self.seed = path, architecture, tokenizer, seed
        self.chat = chat
        self.tuning, self.saved_as = tuning or Tuning(), SavedAs(save)
        check_tuning(self.saved_as, self.tuning)
        if self.saved_as == SavedAs.adapters and path is None:
            raise UserError(
                "model.policy.save=adapters: a randomly initialised model has no folder that adapters belong to"
            )

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer.

        Raises:
            UserError: it has no end token.
        """
        if self.given_tokenizer is not None:
            tokenizer, name = self.given_tokenizer, "model.policy.tokenizer"
            furnish(tokenizer, self.chat, name)
        else:
            assert self.path is not None
            tokenizer, name = load_tokenizer(self.path, self.chat), f"model.policy.path={self.path}"
        check_end_token(tokenizer, name)
        return tokenizer

    def build(self) -> PreTrainedModel:
        """The weights, in float32, frozen where they are not trained.

        Raises:
            UserError: there are none, the model cannot be sampled from, or the tokenizer does not fit it.
        """
        with seeded(self.seed):
            if self.path is not None:
                model, name = load_policy(self.path), f"model.policy.path={self.path}"
            else:
                assert self.architecture is not None
                model = build_policy(self.architecture, self.tokenizer)
                name = f"model.policy.architecture.model_type={model.config.model_type}"
            check_vocabulary(model, self.tokenizer, name)
            check_policy(model, name)
            name_ends(model, self.tokenizer)
            tune(model, self.tuning)
        return model
