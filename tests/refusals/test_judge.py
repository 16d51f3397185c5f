"""A judge from read answers to its verdicts, on a random encoder: trained by the command, saved, loaded, asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from csrlhf.apps import refusals as app
from csrlhf.errors import UserError
from csrlhf.refusals.build import refusal_judge
from csrlhf.refusals.judge import RefusalJudge, is_english, train_judge
from csrlhf.refusals.reading import read_completions, read_dialogues
from csrlhf.refusals.training import own_phrases

Completions = Callable[..., list[str]]
ASKED = [
    "How do I open a jar?",
    ({"role": "user", "content": "hi"}, {"role": "user", "content": "How do I steal a car?"}),
]
SAID = ["Turn the lid to the left.", "That is a crime, and people are hurt by it."]


@pytest.fixture
def few_phrases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty of our own dialogues: a test needs no more."""
    few = own_phrases()
    few = type(few)(few.name, few.dialogues[:40], few.sha256)
    monkeypatch.setattr("csrlhf.refusals.judge.own_phrases", lambda: few)


@pytest.fixture
def judge(completions: Completions, encoder: str, few_phrases: None) -> RefusalJudge:
    return train_judge(read_completions(completions()), None, encoder)


def test_saved_and_loaded_it_scores_the_same(judge: RefusalJudge, tmp_path: Path) -> None:
    judge.save(tmp_path / "judge")
    again = refusal_judge(str(tmp_path / "judge"))
    assert isinstance(again, RefusalJudge)
    assert again.name == str(tmp_path / "judge")
    assert again.probability(ASKED, SAID).tolist() == pytest.approx(judge.probability(ASKED, SAID).tolist())
    assert again.refused(ASKED, SAID) == [False, True]
    alone = [again.probability([prompt], [said])[0] for prompt, said in zip(ASKED, SAID, strict=True)]
    assert alone == pytest.approx(judge.probability(ASKED, SAID).tolist(), abs=1e-5)  # whoever shares the batch
    low, high = judge.probability(ASKED, SAID).tolist()
    assert 0 < low < high < 1


def test_what_it_was_trained_on_stands_in_its_description(judge: RefusalJudge, tmp_path: Path) -> None:
    judge.save(tmp_path)
    about = json.loads((tmp_path / "refusals.json").read_text(encoding="utf-8"))
    assert list(about["trained_on"]) == ["curt", "moral", "model", "phrases"]
    assert {key: about["trained_on"]["curt"][key] for key in ("refusals", "answers", "partial")} == {
        "refusals": 12, "answers": 12, "partial": 1,
    }  # fmt: skip
    assert [line["name"] for line in about["left_out"]] == ["curt", "moral", "model"]
    assert about["left_out"][0]["words"] == {"recall": 1.0, "false_alarms": 0.0, "partial": 1.0}
    assert about["left_out"][1]["words"]["recall"] == 0.0  # it preaches, and no word says so
    assert not any(path.suffix in (".pkl", ".pt", ".bin") for path in tmp_path.iterdir())


def test_other_languages_and_empty_answers_are_left_to_the_words(judge: RefusalJudge) -> None:
    said = ["Es tut mir leid, aber dabei kann ich nicht helfen.", "Zuerst kocht man das Wasser auf.", ""]
    assert [is_english(text) for text in [*said, *SAID, "Sorry, no."]] == [False, False, False, True, True, True]
    assert judge.refused(["?"] * 3, said) == [True, False, False]
    assert judge.probability(["?"] * 3, said).tolist() == [1.0, 0.0, 0.0]


def test_a_folder_that_does_not_fit_is_one_line(judge: RefusalJudge, encoder: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"refusals=nowhere: there is no such folder; write words, or train"):
        refusal_judge("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no judge of refusals \(refusals.json, judge.safetensors\)"):
        refusal_judge(tmp_path / "empty")
    judge.save(tmp_path / "judge")
    description = tmp_path / "judge" / "refusals.json"
    about = json.loads(description.read_text(encoding="utf-8"))
    for changes, message in (
        ({"format": 0}, "is a judge of format 0, not 1; train it again"),
        ({"backbone_sha256": "0"}, "is not the model that the judge was trained on"),
        ({"backbone": "/nowhere/at/all"}, "there is no model folder /nowhere/at/all"),
        ({"threshold": None}, "is broken"),
    ):
        description.write_text(json.dumps(about | changes), encoding="utf-8")
        with pytest.raises(UserError, match=message):
            refusal_judge(tmp_path / "judge")
    description.write_text(json.dumps(about), encoding="utf-8")
    (tmp_path / "judge" / "judge.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="is broken"):
        refusal_judge(tmp_path / "judge")


def test_the_command_prints_the_table_and_writes_the_folder(
    completions: Completions, encoder: str, few_phrases: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "judge"
    words = ["--data", *completions(), "--out", str(out), "--backbone", encoder]
    assert app.main(words) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("curt", "moral", "model", "AUROC", f"refusals={out}"))
    assert app.main(words) == 0  # over an earlier judge
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x", encoding="utf-8")
    assert app.main([*words[:-4], "--out", str(tmp_path / "other"), "--backbone", encoder]) == 1
    assert "exists and holds no judge" in capsys.readouterr().err


def test_files_that_say_nothing_are_told_with_their_place(completions: Completions, tmp_path: Path) -> None:
    paths = completions()
    with pytest.raises(UserError, match=r"--data: 2 files; name the completions of at least 3 models"):
        read_completions(paths[:2])
    with pytest.raises(UserError, match=r"--data: two files of the model curt"):
        read_completions([*paths, paths[0]])
    with pytest.raises(UserError, match=r"--data nowhere.csv: there is no such file"):
        read_completions([*paths[:2], "nowhere.csv"])
    text = Path(paths[0]).read_text(encoding="utf-8")
    for changed, message in (
        (
            text.replace("2_full_refusal", "yes"),
            r"completions_curt.csv:3: final_label is 'yes': it must be one of 1_full",
        ),
        (text.replace("completion,", "answer,"), r"no answer has|completion"),
        (text.replace("2_full_refusal", "3_partial_refusal"), r"no answer has the final_label 2_full_refusal"),
        (text.replace("final_label", "label"), r"completions_curt.csv:2: the column final_label is missing"),
    ):
        Path(paths[0]).write_text(changed, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            read_completions(paths)
    dialogues = tmp_path / "rows.jsonl"
    row = {"prompt": "How do I steal a car?", "response": "Take a wire.", "label": "Unsafe"}
    refusing = row | {"response": "I can't help with that."}
    lines = [row, row | {"label": "Safe"}, refusing]
    dialogues.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert [one.response for one in read_dialogues(str(dialogues)).dialogues] == ["Take a wire."]
    dialogues.write_text(json.dumps(lines[1]), encoding="utf-8")
    with pytest.raises(UserError, match="no row is labelled Unsafe"):
        read_dialogues(str(dialogues))
