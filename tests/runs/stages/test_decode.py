"""``stage=decode`` through the command line: what it writes, that nothing is lost on a kill, and its mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.generation import Decoder
from csrlhf.generation.decoder import Decoder as DecoderClass

ROWS: list[dict[str, Any]] = [
    {"id": "first", "prompt": "a"},
    {"id": "chat", "prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "yes"},
                              {"role": "user", "content": "b"}]},
    *({"id": f"p{i}", "prompt": word} for i, word in enumerate(("b c d", "red", "e f", "g", "h i"))),
]  # fmt: skip


def written(folder: Path, rows: list[dict[str, Any]], name: str = "prompts.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def words(folders: Any, tmp_path: Path) -> list[str]:
    """What every call says: tiny models, short answers, threshold that some candidates pass."""
    return [
        "stage=decode", f"inputs.ppo={folders.ppo}", f"inputs.reward={folders.reward}", f"inputs.cost={folders.cost}",
        "rollout.max_new_tokens=5", "decode.n=3", "decode.batch_size=6", f"artifacts={tmp_path / 'a'}",
        f"decode.prompts={written(tmp_path, ROWS)}", "name=mine",
    ]  # fmt: skip


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "decoded.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_answers_are_the_librarys(command_line: Callable, words: list[str], folders: Any, tmp_path: Path) -> None:
    outcome = command_line(*words, "decode.candidates=true", "objective=decode/abstained", "seed=3")
    assert outcome.code == 0, outcome.err
    result = tmp_path / "a" / "decode" / "mine"
    found = lines(result)
    decoder = Decoder(folders.ppo, folders.reward, folders.cost, n=3, seed=3, max_new_tokens=5, batch_size=6)
    expected = [
        *decoder([row["prompt"] for row in ROWS[:2]]),
        *decoder([row["prompt"] for row in ROWS[2:4]], index=[2, 3]),
    ]
    for record, said in zip(found, expected, strict=False):
        assert (record["response"], record["abstained"], record["tried"]) == (said.response, said.abstained, 3)
        assert record["reward"] == pytest.approx(said.reward)
        assert record["costs"] == pytest.approx(said.cost)
        assert [one["response"] for one in record["candidates"]] == [one.response for one in said.candidates]
    assert [(record["id"], record["prompt"]) for record in found] == [(row["id"], row["prompt"]) for row in ROWS]
    assert all(not record["costs"] or record["costs"]["harm"] <= 0 for record in found)
    settings = ("rule", "n", "threshold", "seed", "certificate")
    assert [found[0][name] for name in settings] == ["best", 3, {"harm": 0.0}, 3, None]
    about = json.loads((result / "csrlhf.json").read_text(encoding="utf-8"))
    assert about["decode"] == decoder.identity()
    assert about["stage"] == "decode"
    assert set(about["inputs"]) == {"ppo", "reward", "cost"}
    metrics = json.loads((result / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["decode/prompts"] == 7
    assert metrics["decode/abstained"] == pytest.approx(sum(record["abstained"] for record in found) / 7)
    assert not (tmp_path / "a" / ".work").exists() or not list((tmp_path / "a" / ".work").iterdir())
    assert "7 prompts" in outcome.out


def test_a_killed_run_goes_on_and_comes_out_the_same(
    command_line: Callable, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command_line(*words).code == 0
    whole = (tmp_path / "a" / "decode" / "mine" / "decoded.jsonl").read_bytes()
    again = [word.replace(f"artifacts={tmp_path / 'a'}", f"artifacts={tmp_path / 'b'}") for word in words]
    asked: list[int] = []
    original = DecoderClass.__call__

    def breaks(self: Any, prompts: Any, index: Any = None) -> Any:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(next(iter(index)))
        return original(self, prompts, index)

    monkeypatch.setattr(DecoderClass, "__call__", breaks)
    stopped = command_line(*again)
    assert stopped.code == 130
    assert "interrupted; the same command continues" in stopped.err
    (work,) = (tmp_path / "b" / ".work").iterdir()
    kept = work / "kept" / "journal-0.jsonl"
    content = kept.read_bytes()
    assert len(content.splitlines()) == 1 + 4
    # The kill came while a line was written, and one group was not whole.
    kept.write_bytes(content[: content.index(b'"p1"') + 30])
    monkeypatch.setattr(DecoderClass, "__call__", lambda *args: asked.append(args[2][0]) or original(*args))
    resumed = command_line(*again)
    assert resumed.code == 0, resumed.err
    assert "resuming after 2 of 7 prompts" in resumed.out
    assert asked == [0, 2, 2, 4, 6]
    assert (tmp_path / "b" / "decode" / "mine" / "decoded.jsonl").read_bytes() == whole
    unchanged = command_line(*again)
    assert unchanged.code == 0
    assert "decode: unchanged" in unchanged.out
    assert len(asked) == 5


def test_a_file_that_somebody_changed(
    command_line: Callable, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DecoderClass.__call__
    monkeypatch.setattr(DecoderClass, "__call__", lambda self, prompts, index: (
        original(self, prompts, index) if index[0] == 0 else (_ for _ in ()).throw(KeyboardInterrupt)
    ))  # fmt: skip
    assert command_line(*words).code == 130
    (work,) = (tmp_path / "a" / ".work").iterdir()
    kept = work / "kept" / "journal-0.jsonl"
    kept.write_text(kept.read_text(encoding="utf-8").replace('"first"', '"other"'), encoding="utf-8")
    outcome = command_line(*words)
    assert outcome.code == 1
    assert "journal-0.jsonl:2: is not what was kept, the file was changed" in outcome.err


def test_first_needs_no_reward_model(command_line: Callable, words: list[str], tmp_path: Path) -> None:
    without = [word for word in words if not word.startswith("inputs.reward")]
    outcome = command_line(*without, "decode.rule=first")
    assert outcome.code == 0, outcome.err
    found = lines(tmp_path / "a" / "decode" / "mine")
    assert all(record["reward"] is None for record in found)
    missing = command_line(*without)
    assert missing.code == 1
    assert "stage=decode needs the result of stage=reward" in missing.err


def test_other_formats_and_ids(command_line: Callable, words: list[str], tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text('prompt\na\n"b c"\n', encoding="utf-8")
    outcome = command_line(*words, f"decode.prompts={table}")
    assert outcome.code == 0, outcome.err
    assert [(one["id"], one["prompt"]) for one in lines(tmp_path / "a" / "decode" / "mine")] == [(0, "a"), (1, "b c")]
    messages = written(tmp_path, [{"messages": [{"role": "user", "content": "a"}]}], "m.jsonl")
    assert command_line(*words, f"decode.prompts={messages}", "decode.threshold={harm: 5.0}").code == 0
    # Another run under the same name: the earlier one is kept beside it.
    assert len(list((tmp_path / "a" / "decode").iterdir())) == 2


def test_a_certificate_is_carried_along_if_it_speaks_of_these_answers(
    command_line: Callable, words: list[str], folders: Any, tmp_path: Path
) -> None:
    identity = Decoder(folders.ppo, folders.reward, folders.cost, n=3, max_new_tokens=5).identity()
    certificate = {"verdict": "CERTIFIED", "decode": identity, "bounds": {"unsafe": 0.02}}
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate), encoding="utf-8")
    outcome = command_line(*words, f"decode.certificate={path}")
    assert outcome.code == 0, outcome.err
    result = tmp_path / "a" / "decode" / "mine"
    about = json.loads((result / "csrlhf.json").read_text(encoding="utf-8"))["certificate"]
    assert about["bounds"] == {"unsafe": 0.02}
    assert {record["certificate"] for record in lines(result)} == {about["sha256"]}
    for word, part in (
        ("decode.n=4", "N 3, here 4"),
        ("rollout.temperature=0.5", "sampling"),
        ("decode.threshold=1", "th"),
    ):
        other = command_line(*words, f"decode.certificate={path}", word)
        assert other.code == 1
        assert f"certifies other responses than these ({part}" in other.err


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("decode.prompts=null", "decode.prompts=null: name the file of prompts"),
        ("decode.prompts=/nowhere.jsonl", "decode.prompts: there is no file /nowhere.jsonl"),
        ("decode.n=0", "decode.n=0: must be >= 1"),
        ("decode.n=many", "decode.n=many: takes a whole number"),
        ("decode.rule=worst", "decode.rule=worst: takes one of best, first"),
        ("decode.threshold={privacy: 0}", "decode.threshold={'privacy': 0}: names privacy, the cost models score harm"),
        ("decode.batch_size=0", "decode.batch_size=0: must be >= 1"),
        ("decode.refusal=' '", "decode.refusal=' ': is empty"),
        ("decode.certificate=/nowhere.json", "decode.certificate=/nowhere.json: there is no such file"),
        ("rollout.temperature=0", "temperature"),
        ("rollout.greedy=true", "decode.n=3: greedy decoding draws the same response every time"),
        ("inputs.cost=/nowhere", "inputs.cost=/nowhere: there is no such folder"),
        ("trainer.devices=2", "trainer.devices=2: stage=decode runs in one process"),
        ("trainer.precision=16-true", "trainer.precision=16-true: stage=decode takes 32-true"),
        ("name=latest", "name=latest: must be one word"),
    ],
)  # fmt: skip
def test_mistakes(command_line: Callable, words: list[str], change: str, complaint: str) -> None:
    key = change.partition("=")[0]
    outcome = command_line(*(word for word in words if not word.startswith(f"{key}=")), change)
    assert outcome.code == 1
    assert complaint in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([{"prompt": "a"}, {"prompt": ""}], "prompts.jsonl:2: prompt is empty"),
        ([{"text": "a"}], "prompts.jsonl:1: the column prompt (or messages) is missing (columns: text)"),
        ([{"prompt": "a", "messages": []}], "prompts.jsonl:1: both prompt and messages are there: keep one"),
        ([{"prompt": "a", "id": 1}, {"prompt": "b", "id": 1}], "prompts.jsonl:2: the id 1 is already in"),
        ([{"prompt": "a", "id": True}], "prompts.jsonl:1: id is True: it must be a text or a whole number"),
        ([{"messages": [{"role": "assistant", "content": "a"}]}], "prompts.jsonl:1: messages must be a list of turns"),
        ([{"prompt": "a"}, {"prompt": "a " * 80}], "prompts.jsonl:2: a prompt has 8"),
    ],
)
def test_broken_prompts(
    command_line: Callable, words: list[str], tmp_path: Path, rows: list[dict[str, Any]], complaint: str
) -> None:
    written(tmp_path, rows)
    outcome = command_line(*words)
    assert outcome.code == 1
    assert complaint in outcome.err


def test_several_processes_are_refused(
    command_line: Callable, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = command_line(*words)
    assert outcome.code == 1
    assert "stage=decode runs in one process (WORLD_SIZE=2)" in outcome.err


def test_mixed_precision(command_line: Callable, words: list[str], tmp_path: Path) -> None:
    outcome = command_line(*words, "trainer.precision=bf16-mixed")
    assert outcome.code == 0, outcome.err
    assert len(lines(tmp_path / "a" / "decode" / "mine")) == 7
