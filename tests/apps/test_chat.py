"""``python -m csrlhf.chat``: through a pipe as a program of its own, and its parts in this process."""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from csrlhf.apps import chat
from csrlhf.apps import chat as terminal
from csrlhf.data.encoding import encode_prompt
from csrlhf.errors import UserError
from csrlhf.generation import Decoder
from csrlhf.generation.conversation import Conversation
from csrlhf.generation.speaker import Pieces


def decoder(folders: Any, **options: Any) -> Decoder:
    settings = {"n": 1, "rule": "first", "threshold": math.inf, "max_new_tokens": 5, "device": "cpu"} | options
    return Decoder(folders.ppo, folders.reward, folders.cost, **settings)


def words(folders: Any, *more: str) -> list[str]:
    models = ["--policy", folders.ppo, "--reward", folders.reward, "--cost", folders.cost]
    return [*models, "--max-new-tokens", "5", "--device", "cpu", *more]


def talk(monkeypatch: pytest.MonkeyPatch, lines: str, given: list[str]) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    return chat.main(given)


def test_through_a_pipe(folders: Any) -> None:
    """The program itself: plain output, commands, an error that does not end it, and the end of the input."""
    lines = "a\n\n/settings\n/nothing\n" + "b " * 80 + "\n/reset\nred\n"
    command = [sys.executable, "-m", "csrlhf.chat", *words(folders, "--best-of", "3", "--threshold", "none")]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(said) == 2
    assert all("3 of 3 drawn]" in line and "cost harm" in line and "reward" in line for line in said)
    assert "rule       best of 3, cost logit of harm at most inf" in done.stdout
    assert "/nothing: there is no such command" in done.stdout
    assert "error: prompts[0]: a prompt has" in done.stderr
    assert "\x1b" not in done.stdout
    assert "Traceback" not in done.stderr


def test_what_is_said_is_what_the_library_says(
    folders: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        talk(monkeypatch, "a\nb\n/quit\nc\n", words(folders, "--best-of", "4", "--threshold", "1", "--seed", "2")) == 0
    )
    out = capsys.readouterr().out
    make = decoder(folders, n=4, rule="best", threshold=1.0, seed=2)
    first = make(["a"])[0]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": first.response},
             {"role": "user", "content": "b"}]  # fmt: skip
    second = make([turns], index=[1])[0]
    assert out.splitlines() == [
        first.response,
        terminal.scores(first, make),
        second.response,
        terminal.scores(second, make),
    ]


def test_nothing_that_is_rejected_is_shown(
    folders: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = words(folders, "--best-of", "2", "--threshold=-1000", "--refusal", "not that")
    assert talk(monkeypatch, "a\n", given) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "not that"
    assert second.startswith("[refused: none of 2 candidates was accepted; lowest cost harm ")


def test_one_candidate_streams_where_nothing_can_be_rejected(
    folders: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pieces: list[str] = []
    monkeypatch.setattr(terminal.Chat, "_piece", lambda self, text: pieces.append(text))
    assert talk(monkeypatch, "a\n", words(folders, "--threshold", "none", "--greedy")) == 0
    expected = decoder(folders, greedy=True)(["a"])[0]
    assert "".join(pieces) == expected.response
    assert len(pieces) > 1
    assert talk(monkeypatch, "a\n", words(folders, "--threshold", "1000", "--greedy")) == 0
    assert "".join(pieces) == expected.response  # not once more: that answer could have been rejected
    assert expected.response in capsys.readouterr().out


def test_streaming_what_may_be_rejected_is_refused(folders: Any) -> None:
    for options in ({"threshold": 5.0}, {"n": 2}):
        with pytest.raises(UserError, match="a response that may be rejected is not shown while it is drawn"):
            decoder(folders, **options).stream("a", 0, print)


def test_pieces_make_up_the_text() -> None:
    import torch

    pieces: list[str] = []
    # Two tokens for one character, as byte-level tokenizers have them.
    stream = Pieces(lambda ids: bytes(ids).decode("utf-8", errors="replace"), pieces.append)
    for byte in "aé b".encode():
        stream.take(torch.tensor([byte]))
    stream.close()
    assert pieces == ["a", "é", " ", "b"]


def test_a_turn_that_fails_or_is_stopped_leaves_no_trace(folders: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    talking = Conversation(decoder(folders))
    assert talking.remembers
    talking.ask("a")
    kept = list(talking.turns)
    with pytest.raises(UserError, match="more than the"):
        talking.ask("b " * 80)
    monkeypatch.setattr(talking.decoder.speaker, "sampler", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        talking.ask("c")
    assert talking.turns == kept
    talking.reset()
    assert talking.turns == []


def test_a_refusal_is_no_turn_that_the_policy_goes_on_from(folders: Any) -> None:
    refusing, answering = Conversation(decoder(folders, threshold=-1e9)), Conversation(decoder(folders, threshold=1e9))
    assert refusing.ask("a").abstained
    assert refusing.turns == []
    said = answering.ask("a")
    assert answering.turns == [{"role": "user", "content": "a"}, {"role": "assistant", "content": said.response}]
    answering.decoder = refusing.decoder
    assert answering.ask("b").abstained
    assert [turn["content"] for turn in answering.turns] == ["a", said.response]


def _interrupted(*args: Any) -> Any:
    raise KeyboardInterrupt


def test_a_policy_without_turns_forgets(folders: Any) -> None:
    one = decoder(folders)
    one.speaker.tokenizer.chat_template = "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}x"
    talking = Conversation(one)
    assert not talking.remembers
    talking.ask("a")
    assert talking.turns == []
    assert "memory     none" in terminal.settings(talking)
    one.speaker.tokenizer.chat_template = None  # the default one has a place for turns
    assert Conversation(one).remembers


def test_control_c_stops_the_answer_alone(
    folders: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = Conversation.ask, []

    def ask(self: Conversation, text: str, show: Any = None) -> Any:
        calls.append(text)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, text, show)

    monkeypatch.setattr(Conversation, "ask", ask)
    assert talk(monkeypatch, "a\nb\n", words(folders, "--threshold", "1000")) == 0
    out = capsys.readouterr().out
    assert "(stopped: this turn is forgotten)" in out
    assert out.count("drawn]") == 1


def test_once(folders: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert chat.main(words(folders, "--threshold", "1000", "--once", "a")) == 0
    out, err = capsys.readouterr()
    said = decoder(folders, rule="best")(["a"])[0]
    assert out == f"{said.response}\n"
    assert "1 drawn]" in err


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["--best-of", "0"], "--best-of=0: must be a whole number"),
        (["--threshold", "high"], "--threshold=high: must be a cost logit, none"),
        (["--threshold", "privacy=0"], "names privacy, the cost models score harm"),
        (["--temperature", "0"], "--temperature=0.0: must be > 0"),
        (["--reward", "none", "--rule", "best"], "--rule=best: ranks by reward"),
        (["--cost", "none", "--threshold", "harm=0"], "the cost models score"),
        (["--policy", "/nowhere"], "/nowhere"),
        (["--system-prompt", "a <eos>"], "--system-prompt: holds '<eos>', a control token of"),
        (["--chat-template", "nosuch"], "--chat-template=nosuch: is neither one of roles, plain, safe_rlhf nor a"),
    ],
)
def test_mistakes(folders: Any, capsys: pytest.CaptureFixture[str], given: list[str], complaint: str) -> None:
    base = words(folders) if "--cost" not in given else ["--policy", folders.ppo, "--device", "cpu"]
    assert chat.main([*base, *given, "--once", "a"]) == 1
    err = capsys.readouterr().err
    assert complaint in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_system_prompt_for_the_conversation(folders: Any) -> None:
    options = chat.parse([*words(folders), "--system-prompt", "b c"])
    talking = Conversation(chat.make_decoder(options))
    batch = encode_prompt(talking.decoder.speaker.tokenizer, "a", 99)
    assert (
        talking.decoder.speaker.tokenizer.decode(batch) == "<unk> b c <user> a <assistant>"
    )  # that world has no such role
    assert "system     b c" in chat.settings(talking)
    assert talking.decoder.identity()["chat"] == {"system_prompt": "b c"}
    plain = Conversation(chat.make_decoder(chat.parse(words(folders))))
    assert "system " not in chat.settings(plain)
    assert "chat" not in plain.decoder.identity()


def test_without_artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert chat.main(["--once", "a"]) == 1
    assert "--policy: there is no artifacts/ppo/latest here; make one with: python train.py" in capsys.readouterr().err
