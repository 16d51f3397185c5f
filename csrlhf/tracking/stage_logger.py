"""What a tracker may be told of a stage beside its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable


@runtime_checkable
class StageLogger(Protocol):
    """A logger with these methods is notified of the start and the result of a stage; others are not."""

    def begin_stage(self, title: str, inputs: Mapping[str, str]) -> None:
        """Called before training, on the main process.

        Args:
            title: a name for the run, e.g. ``ppo-rectified-c3a31146``.
            inputs: folder or Hub name of each earlier result that the stage reads.
        """
        ...

    def end_stage(self, folder: Path) -> None:
        """Called when the result is in ``folder``, on the main process; nothing is logged after it."""
        ...
