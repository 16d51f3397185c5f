"""Versions by name, and nothing of what is not installed."""

from __future__ import annotations

import numpy as np

from csrlhf.runs.artifacts import installed


def test_what_is_not_installed_is_left_out() -> None:
    assert installed(["numpy", "no-such-library"]) == {"numpy": np.__version__}
