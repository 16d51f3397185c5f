"""Advantage estimators: from token rewards per channel to advantages and value targets."""

from csrlhf.advantages.gae import GAE

__all__ = ["GAE"]
