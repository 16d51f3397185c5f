from __future__ import annotations

import pytest

from csrlhf.tracking.progress_state import Progress


def test_the_time_left_is_that_of_the_steps_of_this_process_and_runs_down() -> None:
    resumed = Progress("sft", total=100, done=60, offset=50, started=1000.0, stepped=1020.0)
    assert resumed.remaining(1020.0) == pytest.approx(80.0)  # 10 steps took 20 s, 40 are left
    assert resumed.remaining(1030.0) == pytest.approx(70.0)
    assert resumed.remaining(2000.0) == 0.0
    assert Progress("sft", total=100, done=50, offset=50, started=1000.0).remaining(1020.0) is None
    assert Progress("sft", total=None, done=60, started=1000.0, stepped=1020.0).remaining(1020.0) is None
