"""HTTP endpoints: what is sent, what is tried again, what is refused by name, and what a killed run keeps."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.scorers.build import build
from csrlhf.scorers.endpoint import EndpointScorer

TEXTS: Any = (["a", "b", "c"], ["poison", "Paris", "more poison"], [True, True, False])


def test_batches_go_out_and_scores_come_back(served: Any) -> None:
    scorer = EndpointScorer(served.url, model="guard-1", batch_size=2)
    assert scorer.score(*TEXTS).tolist() == [[2.0], [-1.0], [2.0]]
    assert [len(body["responses"]) for body in served.asked] == [2, 1]
    assert served.asked[0] == {
        "prompts": [[{"role": "user", "content": "a"}], [{"role": "user", "content": "b"}]],
        "responses": ["poison", "Paris"],
        "ended": [True, True],
        "model": "guard-1",
    }
    assert scorer.name == f"{served.url} (guard-1)"


def test_a_list_alone_and_rows_of_columns_will_do(served: Any) -> None:
    served.answers = [lambda body: (200, [[1.0, -2.0] for _ in body["responses"]])]
    scorer = build("inputs.cost", served.url, "cost", None)
    assert scorer.outputs == ("harm",)
    with pytest.raises(UserError, match=r"gave 3 x 2 scores for 3 responses"):
        scorer.score(*TEXTS)
    two = build("inputs.cost", {"scorer": "endpoint", "url": served.url}, "cost", ["harm", "privacy"])
    assert two.score(*TEXTS).tolist() == [[1.0, -2.0]] * 3


def test_a_busy_endpoint_is_asked_again_after_longer_and_longer_waits(
    served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    good = served.answers[0]
    served.answers = [lambda body: (503, {}), lambda body: (429, {}), lambda body: (500, {}), good]
    assert EndpointScorer(served.url, backoff=0.5).score(*TEXTS).tolist() == [[2.0], [-1.0], [2.0]]
    assert waits == [0.5, 1.0, 2.0]
    assert len(served.asked) == 4


def test_retries_end_and_the_message_says_with_what(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    served.answers = [lambda body: (503, {"detail": "loading"})]
    with pytest.raises(UserError, match=rf"{served.url}: gives no answer \(HTTP 503 .*loading.*; tried 3 times"):
        EndpointScorer(served.url, retries=2).score(*TEXTS)
    assert len(served.asked) == 3


def test_nobody_there_and_too_late(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError, match=rf"http://127.0.0.1:{port}/: gives no answer \(.*refused"):
        EndpointScorer(f"http://127.0.0.1:{port}/", retries=1).score(*TEXTS)
    with socket.socket() as silent:  # takes connections, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(UserError, match=r"gives no answer \(timed out; tried 1 times, 0.2 s each\)"):
            EndpointScorer(url, retries=0, timeout=0.2).score(*TEXTS)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((200, {"scores": [1.0, 2.0]}), "gave 2 scores for 3 responses"),
        ((200, {"scores": [1.0, None, 2.0]}), r"gave \[nan\] for response 2 of 3"),
        ((200, b'{"scores": [1.0, NaN, 2.0]}'), r"gave \[nan\] for response 2 of 3"),
        ((200, {"score": [1.0]}), r'answered with the keys score; it must be \{"scores"'),
        ((200, b"<html>"), "which is no JSON"),
        ((404, {"detail": "no such model"}), r"refuses the request \(HTTP 404 .*no such model"),
    ],
)
def test_wrong_answers_name_the_endpoint_and_are_not_tried_again(served: Any, answer: Any, message: str) -> None:
    served.answers = [lambda body: answer]
    with pytest.raises(UserError, match=message) as raised:
        EndpointScorer(served.url).score(*TEXTS)
    assert served.url in str(raised.value)
    assert len(served.asked) == 1


def test_a_token_comes_from_the_environment_and_stands_nowhere(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORER_TOKEN", "s3cret")
    scorer = EndpointScorer(served.url, token="SCORER_TOKEN")
    scorer.score(*TEXTS)
    assert served.headers[0]["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(vars(scorer))
    monkeypatch.delenv("SCORER_TOKEN")
    with pytest.raises(UserError, match=r"token=SCORER_TOKEN: the environment has no variable"):
        EndpointScorer(served.url, token="SCORER_TOKEN")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://x"}, "must begin with http"),
        ({"timeout": 0}, "timeout=0: must be above 0"),
        ({"retries": -1}, "retries=-1: must be 0 or more"),
        ({"backoff": "long"}, "backoff=long: must be above 0"),
        ({"batch_size": 0}, "batch_size=0: must be a whole number, 1 or more"),
    ],
)
def test_ranges(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EndpointScorer(**{"url": "http://x", **options})


def test_nothing_scored_is_asked_for_again_by_the_next_process(served: Any, tmp_path: Path) -> None:
    """A run that ends at the second of three batches goes on with it; a half-written line is left out."""
    good = served.answers[0]
    served.answers = [good, lambda body: (404, {})]
    first = EndpointScorer(served.url, batch_size=1)
    first.keep_in(tmp_path)
    with pytest.raises(UserError, match="refuses"):
        first.score(*TEXTS)
    [file] = tmp_path.glob("scores-*.jsonl")
    with file.open("ab") as cut_off:
        cut_off.write(b'{"half": [')
    served.answers, served.asked = [good], []
    again = EndpointScorer(served.url, batch_size=1, timeout=9.0)
    again.keep_in(tmp_path)
    assert again.score(*TEXTS).tolist() == [[2.0], [-1.0], [2.0]]
    assert [body["responses"] for body in served.asked] == [["Paris"], ["more poison"]]
    other = EndpointScorer(served.url, model="another")  # whose scores are its own
    other.keep_in(tmp_path)
    served.asked = []
    other.score(*TEXTS)
    assert len(served.asked[0]["responses"]) == 3


def test_a_file_that_was_changed_is_refused(served: Any, tmp_path: Path) -> None:
    scorer = EndpointScorer(served.url)
    scorer.keep_in(tmp_path)
    scorer.score(*TEXTS)
    [file] = tmp_path.glob("scores-*.jsonl")
    assert len(json.loads(file.read_text())) == 3
    file.write_text("[1, 2]\n", encoding="utf-8")
    with pytest.raises(UserError, match="is not what was kept"):
        EndpointScorer(served.url).keep_in(tmp_path)
