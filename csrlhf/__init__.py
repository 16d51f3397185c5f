"""csrlhf: constrained RLHF for language models (CS-RLHF and Safe-RLHF side by side).

``csrlhf.train(stage="ppo", penalty="lagrangian")`` is the command line from Python, ``csrlhf.compose`` its config, and
``csrlhf.decode("artifacts/ppo/latest", ["how do i photograph the necklace ?"], "artifacts/reward", "artifacts/cost",
n=8)[0].response`` answers safely.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csrlhf.api import Result, compose, train
    from csrlhf.generation import Decoder, decode

__all__ = ["Decoder", "Result", "__version__", "compose", "decode", "train"]
__version__ = "0.1.0"

HOMES = {"Decoder": "generation", "decode": "generation", "Result": "api", "compose": "api", "train": "api"}


def __getattr__(name: str) -> Any:
    """What needs torch or Hydra is imported when it is asked for: ``import csrlhf`` takes no time."""
    if name in HOMES:
        return getattr(importlib.import_module(f"csrlhf.{HOMES[name]}"), name)
    raise AttributeError(f"module 'csrlhf' has no attribute {name!r}")
