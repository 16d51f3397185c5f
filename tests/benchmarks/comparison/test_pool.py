"""What is made, in which order, and what a failure or a stop leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison.jobs import Folders, Pool, measured_seconds
from benchmarks.comparison.settings import Setting

A, B = (Setting(name, "x", (f"penalty={name}",)) for name in ("none", "linear"))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path, tmp_path)


def test_commands_of_a_run_follow_each_other_and_are_made_once(folders: Folders, stages: Any) -> None:
    run = folders.run(A, 1)
    Pool(1, 1, stages).make([run])
    assert stages.calls == [job.title for job in run]
    Pool(1, 1, stages).make([run])
    assert len(stages.calls) == 3


def test_a_half_finished_run_is_gone_on_with(folders: Folders, stages: Any) -> None:
    run = folders.run(A, 1)

    def killed(job: Any, threads: int) -> int:
        if job.stage == "evaluate":
            raise KeyboardInterrupt
        return stages(job, threads)

    with pytest.raises(KeyboardInterrupt):
        Pool(1, 1, killed).make([run])
    assert [job.done() for job in run] == [True, False, False]
    Pool(1, 1, stages).make([run])
    assert stages.calls == [job.title for job in run]  # ppo once
    assert all(job.done() for job in run)


def test_a_stop_starts_nothing_more(folders: Folders, stages: Any) -> None:
    def killed(job: Any, threads: int) -> int:
        stages(job, threads)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pool(1, 1, killed).make([folders.run(A, 1), folders.run(B, 1)])
    assert len(stages.calls) == 1


def test_a_failure_stops_its_own_run_and_is_tried_again(
    folders: Folders, stages: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folders.run(A, 1), folders.run(B, 1)
    stages.broken = {first[0].title}
    pool = Pool(2, 1, stages)
    pool.make([first, second])
    assert pool.failed == [first[0]]
    assert f"{first[0].title} FAILED (exit code 1), see {first[0].log}" in capsys.readouterr().out
    assert all(job.done() for job in second)
    assert first[1].title not in stages.calls
    stages.broken = set()
    again = Pool(2, 1, stages)
    again.make([first, second])
    assert not again.failed
    assert all(job.done() for job in first)
    assert stages.calls.count(second[0].title) == 1


def test_records_of_what_is_made_again_do_not_outlive_a_stop(folders: Folders, stages: Any) -> None:
    run = folders.run(A, 1)
    Pool(1, 1, stages).make([run])
    run[0].record.unlink()
    stages.broken = {run[0].title}
    Pool(1, 1, stages).make([run])
    assert not any(job.done() for job in run)  # the evaluations are of a policy that is gone


def test_time_left_counts_what_is_missing(folders: Folders, stages: Any, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [folders.run(A, 1), folders.run(B, 1)]
    pool = Pool(2, 1, stages, {"ppo": 100.0, "evaluate": 10.0})
    assert pool.expect(runs) == 120.0  # 2 x (100 + 10 + 10), two side by side
    pool.make(runs[:1])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit("; ", 1)[1] for line in lines] == ["about 1:10 left", "about 1:05 left", "about 1:00 left"]
    assert pool.expect(runs) == 60.0


def test_seconds_are_those_of_finished_commands(folders: Folders, stages: Any) -> None:
    run = folders.run(A, 1)
    for job, seconds in zip(run, (80.0, 4.0, 6.0), strict=True):
        stages(job, 1)
        job.finish(seconds, 1)
    assert measured_seconds(run, 1, {"ppo": 1.0, "sft": 7.0}) == {"ppo": 80.0, "evaluate": 5.0, "sft": 7.0}
    assert measured_seconds(run, 2, {"ppo": 1.0}) == {"ppo": 1.0}  # other threads, other times
