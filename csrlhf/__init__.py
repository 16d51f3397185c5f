"""csrlhf: constrained RLHF for language models (CS-RLHF and Safe-RLHF side by side).

Beside the command line there is safe decoding: ``csrlhf.decode("artifacts/ppo/latest", ["how do i bake bread ?"],
"artifacts/reward", "artifacts/cost", n=8)[0].response``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csrlhf.generation import Decoder, decode

__all__ = ["Decoder", "__version__", "decode"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for: ``import csrlhf`` takes no time."""
    if name in __all__:
        from csrlhf.generation import Decoder, decode

        return {"Decoder": Decoder, "decode": decode}[name]
    raise AttributeError(f"module 'csrlhf' has no attribute {name!r}")
