"""A backbone with a linear head: reward models, cost models and critics.

One class for encoders and causal models, since packing (:func:`pack`) makes padding a detail. The head stays in
float32 (or wider) whatever the backbone computes in: logits are thresholded and compared, so rounding would show.

Legend of suffixes: B sequences, S padded length, W packed length, H hidden size, K outputs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.errors import UserError
from csrlhf.models.checks import check_vocabulary, is_causal
from csrlhf.models.loading import load_tokenizer, load_trunk, resolve_path
from csrlhf.models.plain import plain_classifier, readme
from csrlhf.models.settings import ScoreSettings
from csrlhf.models.tuning import merged, tune

# Real tokens to the left, padding to the right: then every backbone numbers positions as it was trained to.
#
# Rollouts are padded on both sides, training batches on the right. Packing makes them the same input, without
# knowing how a backbone counts positions (from 0, from ``pad + 1``, rotary, ALiBi).


def pack(mask_BS: Tensor) -> tuple[Tensor, Tensor]:
    """Where each packed column comes from.

    Args:
        mask_BS: True on real tokens, wherever they stand.

    Returns:
        ``index_BW`` (column of the padded input that packed column w reads) and ``packed_mask_BW``. W is at
        least 1, so that an empty row does not produce an empty tensor.
    """
    count_B = mask_BS.sum(1)
    width = max(int(count_B.max()), 1)
    # A stable sort of "is padding" moves real tokens to the front and keeps their order.
    index_BW = torch.sort((~mask_BS).to(torch.uint8), dim=1, stable=True).indices[:, :width]
    packed_mask_BW = torch.arange(width, device=mask_BS.device) < count_B[:, None]
    return index_BW, packed_mask_BW


def unpack(packed_BWK: Tensor, index_BW: Tensor, packed_mask_BW: Tensor, length: int) -> Tensor:
    """Put values per packed token back where the tokens stood; 0 on padding. Returns ``[B, length, K]``."""
    values_BWK = packed_BWK * packed_mask_BW.unsqueeze(-1)
    padded_BSK = packed_BWK.new_zeros(len(packed_BWK), length, packed_BWK.shape[-1])
    return padded_BSK.scatter(1, index_BW.unsqueeze(-1).expand_as(values_BWK), values_BWK)


# From one hidden vector per token to one per sequence. Inputs are packed: real tokens first, padding after.

Pooling = Callable[[Tensor, Tensor], Tensor]


def pool_last(hidden_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """The last real token's vector: in a causal model the only one that has read everything."""
    last_B = (mask_BS.sum(1) - 1).clamp(min=0)
    return hidden_BSH[torch.arange(len(hidden_BSH), device=hidden_BSH.device), last_B]


def pool_mean(hidden_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """The mean over real tokens (zero for a row without any)."""
    weight_BS1 = mask_BS.unsqueeze(-1).to(hidden_BSH.dtype)
    return (hidden_BSH * weight_BS1).sum(1) / weight_BS1.sum(1).clamp(min=1)


def pool_weighted(hidden_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """The mean over real tokens, the t-th of them weighing t (zero for a row without any).

    In a causal model a token's state has read what stands before it alone, so that a prompt's first words count for
    little in it and the response for most: the pooling of SGPT (Muennighoff, arXiv 2202.08904).
    """
    place_BS = mask_BS.cumsum(1) * mask_BS
    weight_BS1 = place_BS.unsqueeze(-1).to(torch.promote_types(hidden_BSH.dtype, torch.float32))
    return ((hidden_BSH * weight_BS1).sum(1) / weight_BS1.sum(1).clamp(min=1)).to(hidden_BSH.dtype)


def pool_cls(hidden_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """The first token's vector: an encoder's classification token."""
    return hidden_BSH[:, 0]


POOLINGS: dict[str, Pooling] = {"last": pool_last, "mean": pool_mean, "weighted": pool_weighted, "cls": pool_cls}


def get_pooling(name: str) -> Pooling:
    """The pooling function of that name.

    Raises:
        UserError: there is none; the message lists them.
    """
    if name not in POOLINGS:
        raise UserError(f"model.score.pooling={name!r} is unknown: choose one of {', '.join(POOLINGS)}")
    return POOLINGS[name]


HEAD_WEIGHTS = "score_head.safetensors"
HEAD_CONFIG = "score_head.json"


class ScoreModel(nn.Module):
    """``num_outputs`` scores per sequence.

    Attributes:
        outputs: the name of each output (``("reward",)``, ``("harm", "privacy")``).
        max_tokens: the length that the model was trained on; longer dialogues are cut to it.
        temperature_K: logits are divided by it (fitted on validation data; 1 where nothing was fitted).
        rows_per_pass: larger batches go through the backbone in passes of this many rows of about the same length:
            the same scores and gradients with less padding, faster on a CPU. None: all rows at once.
        head: with a bias unless ``head_bias`` says no: the classifiers of transformers for causal models have none, so
            that a head without one opens there as well (``plain.py``).

    Example:
        ``ScoreModel(load_trunk("sft"), outputs=("harm",), pooling="last", max_tokens=64)``.
    """

    temperature_K: Tensor

    def __init__(
        self,
        backbone: PreTrainedModel,
        outputs: Sequence[str],
        pooling: str,
        max_tokens: int,
        rows_per_pass: int | None = None,
        head_bias: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.outputs = tuple(outputs)
        self.pooling = pooling
        self.max_tokens = max_tokens
        self.rows_per_pass = rows_per_pass
        self._pool = get_pooling(pooling)
        hidden_size = backbone.config.get_text_config().hidden_size
        self.head = nn.Linear(hidden_size, len(self.outputs), head_bias, dtype=torch.float32)
        # Small weights start every score near 0: no output begins far out on the loss's slope.
        nn.init.normal_(self.head.weight, std=0.02)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        self.register_buffer("temperature_K", torch.ones(len(self.outputs)))

    @property
    def num_outputs(self) -> int:
        """K, the number of scores per sequence."""
        return len(self.outputs)

    def forward(self, input_ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """Scores of whole sequences.

        Args:
            input_ids_BS: token ids; padding may stand on either side.
            mask_BS: True on real tokens.

        Returns:
            ``[B, K]`` logits in float32, or in float64 where the model is.
        """
        return self.scores(self.features(input_ids_BS, mask_BS))

    def features(self, input_ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """What the head reads of whole sequences: the backbone's pooled states ``[B, H]``; arguments of ``forward``."""
        if self.rows_per_pass is None or len(mask_BS) <= self.rows_per_pass:
            return self._pooled(input_ids_BS, mask_BS)
        order_B = mask_BS.sum(1).argsort(stable=True)
        passes = [self._pooled(input_ids_BS[rows], mask_BS[rows]) for rows in order_B.split(self.rows_per_pass)]
        return torch.cat(passes)[order_B.argsort()]

    def _pooled(self, input_ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        index_BW, packed_mask_BW = pack(mask_BS.bool())
        return self._pool(self._hidden(input_ids_BS, index_BW, packed_mask_BW), packed_mask_BW)

    def token_scores(self, input_ids_BS: Tensor, mask_BS: Tensor) -> Tensor:
        """The head on every token, for critics: ``[B, S, K]`` like ``forward``'s, 0 on padding. Ignores the pooling."""
        index_BW, packed_mask_BW = pack(mask_BS.bool())
        hidden_BWH = self._hidden(input_ids_BS, index_BW, packed_mask_BW)
        return unpack(self.scores(hidden_BWH), index_BW, packed_mask_BW, mask_BS.shape[1])

    def _hidden(self, input_ids_BS: Tensor, index_BW: Tensor, packed_mask_BW: Tensor) -> Tensor:
        input_ids_BW = input_ids_BS.gather(1, index_BW)
        return self.backbone(input_ids=input_ids_BW, attention_mask=packed_mask_BW.long()).last_hidden_state

    def scores(self, hidden: Tensor) -> Tensor:
        """The head on states ``[..., H]``, divided by the temperature: ``[..., K]``."""
        with torch.autocast(hidden.device.type, enabled=False):
            dtype = torch.promote_types(hidden.dtype, torch.float32)
            bias = None if self.head.bias is None else self.head.bias.to(dtype)
            return F.linear(hidden.to(dtype), self.head.weight.to(dtype), bias) / self.temperature_K.to(dtype)

    @torch.no_grad()
    def rescale(self, shift_K: Tensor, scale_K: Tensor) -> None:
        """From now on score ``(s - shift) / scale`` where it scored ``s``: the ranking stays, the units change.

        Args:
            shift_K: subtracted, in today's units; 0 where the head has no bias.
            scale_K: divided by, above 0.
        """
        if self.head.bias is not None:
            self.head.bias.sub_(shift_K * self.temperature_K)
        assert self.head.bias is not None or not shift_K.any(), "a head without a bias cannot be shifted"
        self.temperature_K.mul_(scale_K)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the backbone in Hugging Face's layout and the head beside it (the tokenizer is the caller's).

        Where transformers has a classifier that computes the same, the folder is one (``plain.py``); its README says
        whether it is, and how to load it.
        """
        folder = Path(folder)
        backbone = merged(self.backbone)
        classifier, obstacle = plain_classifier(backbone, self.head, self.temperature_K, self.outputs, self.pooling)
        (classifier or backbone).save_pretrained(folder)
        weights = dict(self.head.named_parameters()) | {"temperature": self.temperature_K}
        save_file(
            {name: value.detach().float().cpu().contiguous() for name, value in weights.items()}, folder / HEAD_WEIGHTS
        )
        config = {
            "outputs": list(self.outputs),
            "pooling": self.pooling,
            "max_tokens": self.max_tokens,
            "bias": self.head.bias is not None,
            "classifier": type(classifier).__name__ if classifier else None,
            "no_classifier_because": obstacle,
        }
        (folder / HEAD_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(readme(config), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> ScoreModel:
        """Read what ``save_pretrained`` wrote, in eval mode.

        Raises:
            UserError: the folder does not exist, a file of weights is broken, or it is a model without its score head:
                scoring with a head drawn at random would look like success.
        """
        path = Path(resolve_path(folder))
        try:
            config = json.loads((path / HEAD_CONFIG).read_text(encoding="utf-8"))
            weights = load_file(path / HEAD_WEIGHTS)
            settings = config["outputs"], config["pooling"], config["max_tokens"]
            parts = ("weight", "bias") if config.get("bias", True) else ("weight",)
            head, temperature_K = {key: weights[key] for key in parts}, weights["temperature"]
        except (FileNotFoundError, KeyError, json.JSONDecodeError, SafetensorError) as error:
            raise UserError(
                f"{folder} holds a model without its score head ({HEAD_CONFIG}, {HEAD_WEIGHTS}): "
                "make it again with stage=reward or stage=cost, or name another folder"
            ) from error
        try:
            trunk = load_trunk(path)
        except SafetensorError as error:
            raise UserError(
                f"{_broken_weights(path)}: broken or cut short ({error}); make or copy the folder again"
            ) from error
        model = cls(trunk, *settings, head_bias="bias" in head)
        model.head.load_state_dict(head)
        model.temperature_K.copy_(temperature_K)
        return model.eval()


def _broken_weights(folder: Path) -> Path:
    """The first file of weights that cannot be opened; the folder where all can."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt"):
                pass
        except SafetensorError:
            return path
    return folder


# Which score model a stage trains: the backbone to start from, and how a dialogue becomes scores.


@dataclass(eq=False)
class ScoreSpec(ScoreSettings):
    """A description that costs nothing until ``build`` is called."""

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The backbone's tokenizer."""
        return load_tokenizer(self._backbone, self.chat, own_template=True)

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
            pad, end = self.tokenizer.pad_token_id, format_of(self.tokenizer).turn_end
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
