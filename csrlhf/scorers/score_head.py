"""PKU's score models (safe-rlhf's ``LlamaForScore``): a head on the last token, and a normaliser behind it.

Their checkpoints say what they are: ``score_type`` is ``reward`` or ``cost`` (above 0 is unsafe), ``do_normalize``
whether the normaliser counts. Rewards are shifted and divided, costs are divided only, so that their sign stays.

Legend: B dialogues, S tokens, H features, K outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.data.encoding import pad, pad_id
from csrlhf.errors import UserError
from csrlhf.models.checks import check_vocabulary
from csrlhf.models.loading import load_config, load_tokenizer
from csrlhf.scorers.base import Scorer, column_names
from csrlhf.scorers.classifier import load_frozen, most_tokens
from csrlhf.scorers.rendering import Turns, by_length, fitting, text_ids
from csrlhf.types import Prompt

HIGH = {"reward": "better", "cost": "unsafe"}

BEGIN = "BEGINNING OF CONVERSATION:"
"""Of every conversation, in safe-rlhf's template."""


class _Normaliser(nn.Module):
    """The mean and variance of the scores in training, as checkpoints name them."""

    mean: Tensor
    var: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))


class ScoreHead(PreTrainedModel):
    """Trunk, head and normaliser, under the names of safe-rlhf's checkpoints."""

    config_class = PretrainedConfig
    base_model_prefix = "model"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        trunk = AutoModel.from_config(config)
        self.trunk_name = trunk.base_model_prefix or "model"
        setattr(self, self.trunk_name, trunk)
        size = int(getattr(config, "score_dim", 1))
        self.score_head = nn.Linear(
            config.get_text_config().hidden_size, size, bias=bool(getattr(config, "bias", False))
        )
        # Only where it counts: then a checkpoint without it is refused, as one without a head is.
        self.normalizer = _Normaliser(size) if getattr(config, "do_normalize", False) else None
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Normalised scores [B, K] of the last real token in float32; padding stands on the right."""
        trunk = getattr(self, self.trunk_name)
        hidden_BSH = trunk(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        last_B = attention_mask.sum(1) - 1
        hidden_BH = hidden_BSH[torch.arange(len(last_B), device=last_B.device), last_B]
        scores_BK = F.linear(hidden_BH, self.score_head.weight, self.score_head.bias).float()
        if self.normalizer is None:
            return scores_BK
        shift = self.normalizer.mean if getattr(self.config, "score_type", "reward") == "reward" else 0.0
        return (scores_BK - shift) / self.normalizer.var.sqrt()


class ScoreHeadScorer(Scorer):
    """A score model in safe-rlhf's layout, which reads safe-rlhf's template."""

    own_dtype = True

    def __init__(
        self,
        model: str | Path,
        outputs: Sequence[str] | None = None,
        max_tokens: int | None = None,
        dtype: str = "float32",
        batch_size: int = 16,
        *,
        role: str = "cost",
        key: str = "inputs.cost",
    ) -> None:
        """Load it.

        Args:
            model: a folder, or a name on the Hub.
            outputs: the columns that are asked for: as many as the head has.
            max_tokens: longer dialogues are cut; None for what model and tokenizer take.
            dtype: of the weights.
            batch_size: dialogues per forward pass.
            role: ``reward`` or ``cost``.
            key: where it is named, for messages.

        Raises:
            UserError: it cannot be loaded, or has another number of scores.
        """
        super().__init__()
        self.folder, self.name, self.batch_size = model, str(model), batch_size
        config: Any = load_config(model)
        self.outputs = column_names(
            (role,) if outputs is None and role == "reward" else outputs,
            int(getattr(config, "score_dim", 1)),
            f"{key}={model}",
        )
        self.high = HIGH.get(str(getattr(config, "score_type", None)))
        self.model: Any = load_frozen(_Loaded(config), model, dtype, key)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model, as_it_is=True)
        check_vocabulary(self.model, self.tokenizer, str(model))
        self.max_tokens = most_tokens(self.model, self.tokenizer, max_tokens, f"{key}.max_tokens")

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Scores [B, K]; arguments as in :meth:`Scorer.raw_scores`."""
        rows = [self._ids(*one)[0] for one in zip(prompts, responses, ended, strict=True)]
        device = self.model.score_head.weight.device

        def scored(part: list[list[int]]) -> Tensor:
            ids_BS, mask_BS = pad(part, pad_id(self.tokenizer))
            return self.model(ids_BS.to(device), mask_BS.long().to(device))

        return by_length(rows, self.batch_size, scored)

    def cut_short(self, prompt: Prompt, response: str, ended: bool) -> bool:
        """Whether it reads the response without its end."""
        return self._ids(prompt, response, ended)[1]

    def _ids(self, prompt: Prompt, response: str, ended: bool) -> tuple[list[int], bool]:
        end_id: Any = self.tokenizer.eos_token_id
        end = [] if not ended or end_id is None else [int(end_id)]

        def render(turns: Turns, said: str) -> list[int]:
            guarded = format_of(self.tokenizer).guarded
            turns = [{**turn, "content": guarded(turn["content"])} for turn in turns]
            return text_ids(self.tokenizer, conversation(turns, guarded(said), str(self.tokenizer.eos_token or "")))

        ids, cut = fitting(self.tokenizer, render, prompt, response, self.max_tokens - len(end), self.name)
        return [*ids, *([] if cut else end)], cut


def conversation(turns: Turns, response: str, end: str) -> str:
    """safe-rlhf's template: ``BEGINNING OF CONVERSATION: USER: ... ASSISTANT:...``, an end token behind early answers.

    A system turn, for which it has no place, stands in front of the user's words.
    """
    text, before = BEGIN, ""
    for turn in turns:
        if turn["role"] == "system":
            before += turn["content"] + "\n"
        elif turn["role"] == "assistant":
            text += f" ASSISTANT:{turn['content']}{end}"
        else:
            text += f" USER: {before}{turn['content']}"
            before = ""
    return f"{text} ASSISTANT:{response}"


class _Loaded:
    """``ScoreHead.from_pretrained`` with the trunk's configuration, which has the model type of the trunk alone."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config

    def from_pretrained(self, path: str, **options: Any) -> Any:
        for name in ("score_dim", "score_type"):
            if not hasattr(self.config, name):
                raise UserError(f"{path}: config.json has no {name}; it is no score model in safe-rlhf's layout")
        return ScoreHead.from_pretrained(path, config=self.config, **options)
