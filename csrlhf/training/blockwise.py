"""The 8-bit AdamW of bitsandbytes with 32-bit states for embeddings. Imported only where it is asked for."""

from __future__ import annotations

from typing import Any

from bitsandbytes.optim import AdamW8bit


class BlockwiseAdamW(AdamW8bit):
    """``bitsandbytes.optim.AdamW8bit`` that reads the key ``embedding`` of its parameter groups.

    The library's own way to except a tensor is a registry of the whole process that goes by a tensor's place in its
    group: two optimisers, those of policy and critic, would share the entries.
    """

    def get_config(self, gindex: int, pindex: int, group: dict[str, Any]) -> dict[str, Any]:
        """The settings of one tensor (the library's hook)."""
        config = super().get_config(gindex, pindex, group)
        return config | {"optim_bits": 32} if group["embedding"] else config
