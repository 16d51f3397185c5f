"""Settings of models: which weights are trained and how, and how a dialogue becomes scores. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any

from csrlhf.errors import UserError
from csrlhf.settings import Settings, setting

_ATTENTION: ContextVar[str | None] = ContextVar("attention", default=None)


@contextmanager
def attention(implementation: str | None) -> Iterator[None]:
    """Inside, policies and trunks are loaded with this implementation of attention, as with a default dtype.

    Args:
        implementation: what transformers calls ``attn_implementation``; None for its own choice.
    """
    token = _ATTENTION.set(implementation)
    try:
        yield
    finally:
        _ATTENTION.reset(token)


def chosen_attention() -> str | None:
    """The implementation of attention to load with; None for transformers' own choice."""
    return _ATTENTION.get()


class TuningMethod(StrEnum):
    """Which weights are trained."""

    full = auto()
    """All."""
    lora = auto()
    """Low-rank adapters alone."""
    last_n = auto()
    """The last layers and the final norm; embeddings and language head stay as they are."""
    frozen = auto()
    """None: of a cost model the head alone, fitted to the states of the backbone as it is."""


class SavedAs(StrEnum):
    """What a policy's folder holds."""

    merged = auto()
    """Plain weights, adapters merged in."""
    adapters = auto()
    """The adapters alone, and the name of the model that they belong to."""


class Thought(StrEnum):
    """What becomes of a response's thought, what it says between ``<think>`` and ``</think>``."""

    keep = auto()
    """Trained on and written beside the response, not scored: scored is what a user sees."""
    score = auto()
    """Part of the response, which is scored as a whole."""
    drop = auto()
    """Left out of demonstrations, scores and records."""


@dataclass
class ChatSettings(Settings):
    """How conversations are written for the policy; ``data/chat_templates.py`` applies it (docs/how-to/your_model.md).

    Attributes:
        chat_template: a file of Jinja, or ``roles``, ``plain`` or ``safe_rlhf``; None for the tokenizer's own, and
            ``roles`` where it has none.
        chat_template_kwargs: arguments of the template, such as ``{enable_thinking: false}``; None for none.
        chat_date: the day that a template is told which reads the clock; None for 2024-07-26.
        system_prompt: of conversations that begin with none; None for the template's own.
        thought: what becomes of what a model writes between ``<think>`` and ``</think>``; None as the model's folder
            says, else ``keep``.
    """

    key = "model"

    chat_template: str | None = None
    chat_template_kwargs: Any = None
    chat_date: str | None = None
    system_prompt: str | None = None
    thought: Thought | None = None

    def check(self, key: str) -> None:
        """Also refuses arguments that are no mapping."""
        super().check(key)
        if self.chat_template_kwargs is not None and not isinstance(self.chat_template_kwargs, Mapping):
            raise UserError(
                f"{key}.chat_template_kwargs={self.chat_template_kwargs}: must be a mapping from names to values, such "
                "as {enable_thinking: false}, or null"
            )


READERS = {
    "rank": (TuningMethod.lora,),
    "alpha": (TuningMethod.lora,),
    "targets": (TuningMethod.lora,),
    "layers": (TuningMethod.last_n, TuningMethod.lora),
}
"""The methods that read a setting."""


@dataclass
class Tuning(Settings):
    """Which weights are trained, and what is kept for their gradients; ``models/tuning.py`` applies it.

    Attributes:
        method: all weights, adapters (LoRA, by PEFT), the last layers, or none of a cost model's backbone.
        rank: of the adapters; None for 16.
        alpha: scale of the adapters, which are multiplied by ``alpha / rank``; None for twice the rank.
        targets: ends of the names of the linear layers that get adapters; None for all of them.
        layers: how many of the last layers are trained, or get adapters; None for 2, or adapters in all. PPO computes
            the layers below once per rollout (``models/frozen_layers.py``).
        gradient_checkpointing: layers are computed again in the backward pass: less memory, more time.

    Example:
        ``tune(model, Tuning("lora", rank=8))``; ``tune(model, Tuning("last_n", layers=2))``.
    """

    key = "tuning"

    method: TuningMethod = TuningMethod.full
    rank: int | None = setting(None, "above 0")
    alpha: float | None = setting(None, "above 0")
    targets: list[str] | None = None
    layers: int | None = setting(None, "above 0")
    gradient_checkpointing: bool = False

    def check(self, key: str) -> None:
        """Also refuses a setting that the method does not read."""
        super().check(key)
        for name, methods in READERS.items():
            value = getattr(self, name)
            if value is not None and self.method not in methods:
                raise UserError(
                    f"{key}.{name}={value}: has no meaning with {key}.method={self.method}; set "
                    f"{key}.method={'|'.join(methods)}, or leave it null"
                )


class Pooling(StrEnum):
    """From the states of a dialogue's tokens to one."""

    last = auto()
    """The last token's: causal models."""
    mean = auto()
    """The mean: any model."""
    weighted = auto()
    """The mean weighted by the tokens' places: causal models, whose later states have read more."""
    cls = auto()
    """The first token's: encoders."""


@dataclass
class ScoreSettings(Settings):
    """Which score model a stage trains.

    Attributes:
        backbone: a folder (of any stage), a hub name, or ``package:name/path`` (models/loading.py).
        pooling: how a dialogue becomes one state.
        max_tokens: longer dialogues are cut; stored with the model, so that scoring cuts alike.
        options: configuration keys of the backbone to replace (``load_trunk``).
        rows_per_pass: rows of about the same length that go through the backbone together; None for all.
        head_bias: False for a head without a bias, so that a causal model with the pooling ``last`` is saved as a plain
            classifier of transformers; such a head keeps the level of its rewards, and ``reward.standardize`` only
            scales them.
        tuning: which weights of the backbone are trained; the head always is.
        chat: how conversations are written, as for the policy; the template is the backbone's own, or named here.
    """

    key = "model.score"

    backbone: str | None = None
    pooling: Pooling = Pooling.last
    max_tokens: int = 512
    options: dict[str, Any] = field(default_factory=dict)
    rows_per_pass: int | None = setting(None, "1 or more")
    head_bias: bool = True
    tuning: Tuning = field(default_factory=Tuning)
    chat: ChatSettings = field(default_factory=ChatSettings)

    def check(self, key: str) -> None:
        """Also refuses a length that has no room for a dialogue."""
        super().check(key)
        if self.max_tokens < 8:
            raise UserError(f"{key}.max_tokens={self.max_tokens}: a dialogue needs room for at least 8 tokens")
