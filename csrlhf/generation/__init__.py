"""Safe decoding: best of N with abstention, in a call, a terminal (``csrlhf.chat``) or a stage (``stage=decode``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csrlhf.generation.candidates import Candidate, Decoded, choose, flags_and_rewards
    from csrlhf.generation.decoder import Decoder, decode

__all__ = ["Candidate", "Decoded", "Decoder", "choose", "decode", "flags_and_rewards"]


def __getattr__(name: str) -> Any:
    """What needs torch is imported when it is asked for: settings are read without it."""
    if name in __all__:
        from csrlhf.generation import candidates, decoder

        return getattr(decoder if name in ("Decoder", "decode") else candidates, name)
    raise AttributeError(f"module 'csrlhf.generation' has no attribute {name!r}")
