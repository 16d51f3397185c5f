"""The layers of a causal model below all that is trained: computed once per rollout, while it is sampled.

Adapters in the last layers (``tuning.layers``), or the last layers alone, leave those below as they are, and what they
make of a token depends on the tokens alone. The sampler's steps compute it anyway; kept, it serves the reference, every
epoch of the update and the validation, whose passes begin at the first layer that is trained.

Legend: B sequences, S tokens, H width of a state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from csrlhf.models.tuning import LAYERS, first_trained_layer, layer_of

_LAYER = re.compile(rf"(?:^|\.){LAYERS}\.\d+$")


@dataclass(frozen=True)
class FrozenLayers:
    """The first layers of a model, none of which is trained.

    Attributes:
        layers: from the one after the embeddings on.
        gives_tuple: whether a layer returns its state as the first of several values.

    Example:
        ``with frozen.recorded() as states: model(ids)``, then ``with frozen.replayed(states[0]): model(ids)`` computes
        the layers above alone.
    """

    layers: tuple[nn.Module, ...]
    gives_tuple: bool = False

    @classmethod
    def of(cls, model: PreTrainedModel) -> FrozenLayers | None:
        """Those below all that is trained; None as :meth:`first` has it."""
        return cls.first(model, first_trained_layer(model) or 0)

    @classmethod
    @torch.no_grad()
    def first(cls, model: PreTrainedModel, depth: int) -> FrozenLayers | None:
        """The first ``depth`` layers of a model.

        None where there are none, or where a trial on two short inputs shows that the states which they hand on are not
        all that the layers above need (some models pass more than one state, or look at the tokens again).
        """
        named = {name: module for name, module in model.named_modules() if _LAYER.search(name)}
        numbered = {layer_of(f"{name}."): module for name, module in named.items()}
        if depth < 1 or len(numbered) != len(named) or not all(number in numbered for number in range(depth)):
            return None
        layers = tuple(numbered[number] for number in range(depth))
        ids = torch.tensor([[1, 2, 1], [1, 3, 2]], device=next(model.parameters()).device)
        known: dict[str, Any] = {"attention_mask": torch.ones_like(ids), "use_cache": False}
        was_training = model.training
        outputs: list[Any] = []
        handle = layers[-1].register_forward_hook(lambda layer, inputs, output: outputs.append(output))
        model.eval()
        whole = model(input_ids=ids, **known)[0]
        handle.remove()
        gives_tuple = bool(outputs) and not isinstance(outputs[0], Tensor)
        frozen, states = cls(layers, gives_tuple), outputs[0][0] if gives_tuple else outputs[0]
        suffices = len(outputs) == 1 and isinstance(states, Tensor) and states.shape[:-1] == ids.shape
        if suffices:
            with frozen.replayed(states):
                above = model(input_ids=ids.flip(0), **known)[0]  # other tokens: nothing above may look at them
            suffices = torch.allclose(above, whole, rtol=1e-4, atol=1e-5)
        model.train(was_training)
        return frozen if suffices else None

    @contextmanager
    def recorded(self) -> Iterator[list[Tensor]]:
        """Inside, each forward of the model appends the states [B, S, H] that the layers hand on."""
        states: list[Tensor] = []

        def keep(layer: nn.Module, inputs: Any, output: Any) -> None:
            states.append(output[0] if self.gives_tuple else output)

        handle = self.layers[-1].register_forward_hook(keep)
        try:
            yield states
        finally:
            handle.remove()

    @contextmanager
    def replayed(self, states_BSH: Tensor) -> Iterator[None]:
        """Inside, the layers compute nothing and hand on these states."""

        def replay(*args: Any, **kwargs: Any) -> Any:
            return (states_BSH,) if self.gives_tuple else states_BSH

        with ExitStack() as stack:
            for layer in self.layers:
                stack.enter_context(_computing(layer, replay))
            yield


@contextmanager
def _computing(layer: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Inside, the layer's forward is another function; its hooks and attributes are its own."""
    layer.__dict__["forward"] = forward
    try:
        yield
    finally:
        del layer.__dict__["forward"]
