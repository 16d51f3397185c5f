"""The study on a real model: who learns from which rows, and commands that compose."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import csrlhf
from benchmarks.real_model import SETTINGS, Files, Study
from csrlhf.errors import UserError


@pytest.fixture
def files(tmp_path: Path) -> Files:
    folder = tmp_path / "data" / "cs_rlhf"
    folder.mkdir(parents=True)

    def write(name: str, rows: list[dict]) -> None:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    labelled = [{"prompt": f"p{n // 2}", "response": f"r{n}", "label": ("Safe", "Unsafe")[n % 2]} for n in range(200)]
    write("train.jsonl", labelled)
    write("validation.jsonl", [{"prompt": "v", "response": "r", "label": "Safe"}])
    write("preferences_validation.jsonl", [{"prompt": "v"}, {"prompt": "q0"}, {"prompt": "q0"}])
    write("preferences_train.jsonl", [{"prompt": "p3"}, {"prompt": "q1"}])
    (tmp_path / "data" / "xstest").mkdir()
    (tmp_path / "data" / "xstest" / "completions_some model.csv").touch()
    return Files(tmp_path / "data", tmp_path / "out" / "data")


def prompts(path: Path) -> set[str]:
    return {json.loads(line)["prompt"] for line in path.read_text(encoding="utf-8").splitlines()}


def test_no_prompt_is_in_two_parts(files: Files) -> None:
    files.write()
    learned, judged, asked = (prompts(path) for path in (files.learned, files.judged, files.asked))
    assert not learned & judged
    assert len(learned | judged) == 100
    assert 45 <= len(learned) <= 75  # three fifths, by a hash
    assert asked == {"q0", "q1"}  # and neither the validation's prompts nor those of the dialogues
    before = files.judged.read_bytes()
    files.write()
    assert files.judged.read_bytes() == before


def test_a_missing_file_is_named(files: Files) -> None:
    (files.data / "cs_rlhf" / "preferences_train.jsonl").unlink()
    with pytest.raises(UserError, match=r"no cs_rlhf/preferences_train\.jsonl"):
        files.write()


def test_every_command_composes_and_the_judge_is_no_input_of_ppo(files: Files, tmp_path: Path) -> None:
    files.write()
    study = Study(files, tmp_path / "out", ["ppo.iterations=5"])
    jobs = [*study.base(), *study.policies(list(SETTINGS), [0, 1]), study.evaluation(list(SETTINGS), [0, 1])]
    composed = {f"{job.stage} {job.name}": csrlhf.compose(*job.words()) for job in jobs}
    assert len(composed) == len(jobs) == 11
    judge = str(tmp_path / "out" / "judge" / "cost")
    assert composed["evaluate all"].evaluate.judge == judge
    assert len(composed["evaluate all"].evaluate.policies) == 7
    for name in SETTINGS:
        run = composed[f"ppo {name}-seed1"]
        assert (run.seed, run.inputs.cost, run.ppo.iterations) == (1, str(tmp_path / "out" / "cost"), 5)
        assert run.data.sources.dialogues.train == str(files.learned)
    own = composed["cost judge-cost"].data.sources.own
    assert (own.train, own.validation) == (str(files.judged), str(files.data / "cs_rlhf" / "validation.jsonl"))
    assert composed["ppo none-seed0"].penalty["_target_"].endswith("NoPenalty")
