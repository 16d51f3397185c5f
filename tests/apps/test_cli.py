"""What a person can get wrong on the command line: one line on stderr, exit code 1, no traceback."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from csrlhf.apps import cli
from csrlhf.errors import InputWarning, UserError

MISTAKES = [
    # an override's key, and a word of the answer
    ("ppo.iteration=3", "did you mean ppo.iterations"),
    ("constraints.harm.treshold=0.02", "did you mean constraints.harm.threshold"),
    ("penaltyy=linear", "did you mean penalty"),
    ("penalty=rectifed", "did you mean penalty=rectified"),
    ("stage=coste", "did you mean stage=cost"),
    ("debug=fats", "did you mean debug=fast"),
    (
        "trainer.limit_train_batches=2",
        "the YAML does not list it; write +trainer.limit_train_batches=...",
    ),
    ("trainer.limit_train_batchs=2", "did you mean +trainer.limit_train_batches?"),
    ("trainer.max_epoch=2", "did you mean trainer.max_epochs?"),
    # added, and read by nothing
    ("+verbose=true", "+verbose: nothing reads this key"),
    ("+ppo.temperature=0.7", "+ppo.temperature: nothing reads this key"),
    # its type
    ("ppo.iterations=abc", "ppo.iterations=abc: takes a whole number"),
    ("ppo.iterations=1.5", "ppo.iterations=1.5: takes a whole number"),
    ("ppo.kl_coef=high", "ppo.kl_coef=high: takes a number"),
    ("resume=maybe", "resume=maybe: takes true or false"),
    ("ppo.batch_size=null", "ppo.batch_size=null: takes a whole number"),
    ("constraints.harm.threshold=null", "constraints.harm.threshold=null: takes a number"),
    ("seed=null", "seed=null: takes a whole number"),
    ("ppo.kl_control=auto", "ppo.kl_control=auto: takes one of fixed, adaptive (its default is fixed)"),
    ("leaks=loud", "leaks=loud: takes one of error, warn, ignore"),
    ("ppo.value_clip=wide", "ppo.value_clip=wide: takes a number, or null (its default is null)"),
    ("evaluate.benign=mild", "evaluate.benign=mild: takes a list, [a,b]"),
    ("ppo.policy_optimizer=adam", "ppo.policy_optimizer=adam: takes a mapping, {a: 1}"),
    ("penalty.ema=x", "penalty.ema=x: takes a number (its default is 0.0)"),
    # its form
    ("ppo.iterations", "write key=value"),
    ("--ppo.iterations=3", "without dashes"),
    ("seed=[1", "write key=value"),
]


def assert_one_line(err: str) -> None:
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    assert "Traceback" not in err


@pytest.mark.parametrize(("word", "answer"), MISTAKES)
def test_a_mistyped_word_gets_one_line(command_line: Callable, word: str, answer: str) -> None:
    outcome = command_line("stage=sft", word) if "stage=" not in word else command_line(word)
    assert outcome.code == 1
    assert_one_line(outcome.err)
    assert answer in outcome.err


NULL_WORDS = ["ppo.num_validation=null", "sft.gradient_clip=null", "ppo.selection.max_reward_drop=null"]


@pytest.mark.parametrize("word", NULL_WORDS)
def test_null_passes_where_it_means_all_or_none(command_line: Callable, word: str) -> None:
    outcome = command_line("stage=sft", word, "sft.batch_size=0")  # the mistake that comes after the types
    assert "sft.batch_size=0" in outcome.err


@pytest.mark.parametrize("given", ["one.jsonl", "[one.jsonl,two.jsonl]"])
def test_a_file_may_be_named_whose_default_lies_in_a_folder_that_has_to_be_given(
    command_line: Callable, tmp_path: Path, given: str
) -> None:
    """Its default is ``${data.folder}/...``, which nothing stands for where groups alone are composed."""
    words = ["data=safe_chat", f"data.folder={tmp_path}", f"data.sources.dialogues.train={given}"]
    outcome = command_line("stage=sft", *words, "sft.batch_size=0")  # the mistake that comes after the types
    assert outcome.err.startswith("error: sft.batch_size=0")


RANGES = [
    ("stage=sft", "sft.batch_size=0", "sft.batch_size"),
    ("stage=ppo", "ppo.batch_size=0", "ppo.batch_size"),
    ("stage=ppo", "ppo.iterations=0", "ppo.iterations"),
    ("stage=ppo", "ppo.eval_every=0", "ppo.eval_every"),
    ("stage=ppo", "ppo.kl_coef=-1.0", "ppo.kl_coef"),
    ("stage=ppo", "constraints.harm.threshold=-0.1", "constraints.harm.threshold=-0.1"),
    ("stage=ppo", "penalty.multiplier=-1.0", "multiplier"),
    ("stage=sft", "trainer.precision=13", "precision"),
    ("stage=sft", "trainer.devices=many", "devices"),
    ("stage=sft", "seed=-1", "seed=-1: must be a whole number from 0"),
    ("stage=sft", "+sft.optimizer.betas=0.9", "+sft.optimizer.betas: nothing reads this key"),
    ("stage=sft", "sft.optimizer.lr=inf", "sft.optimizer.lr=inf: must be above 0 and finite"),
    ("stage=sft", "ppo.kl_coef=nan", "ppo.kl_coef=nan: must be 0 or above and finite"),
    ("stage=sft", "ppo.clip=-1.0", "ppo.clip=-1.0: must be in (0, 1)"),
    ("stage=sft", "cost.max_steps=0", "cost.max_steps=0: must be >= 1, or -1 for no limit"),  # whichever stage runs
    ("stage=sft", "model.score.tuning.rank=4", "model.score.tuning.rank=4: has no meaning with model.score.tuning.m"),
    ("stage=ppo", "+penalty.slope=2", "slope"),  # the strategy's constructor has the word
]


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Overrides that name three folders with an (empty) earlier result."""
    from csrlhf.data.toy.tokenizer import build_tokenizer

    words = []
    for stage in ("sft", "reward", "cost"):
        folder = tmp_path / "given" / stage
        folder.mkdir(parents=True)
        build_tokenizer().save_pretrained(folder)
        words.append(f"inputs.{stage}={folder}")
    return words


@pytest.mark.parametrize(("stage", "word", "key"), RANGES)
def test_a_value_out_of_range_gets_one_line(
    command_line: Callable, inputs: list[str], tmp_path: Path, stage: str, word: str, key: str
) -> None:
    words = inputs if stage == "stage=ppo" else []
    outcome = command_line(stage, word, *words, "logger=none", f"artifacts={tmp_path / 'a'}")
    assert outcome.code == 1
    assert_one_line(outcome.err)
    assert key in outcome.err


def test_a_missing_input_names_the_command_that_makes_it(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line("stage=ppo", f"artifacts={tmp_path}")
    assert outcome.code == 1
    assert_one_line(outcome.err)
    assert f"stage=sft artifacts={tmp_path}" in outcome.err


def test_a_missing_input_folder_is_named(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line("stage=ppo", f"inputs.sft={tmp_path / 'nowhere'}", f"artifacts={tmp_path}")
    assert outcome.code == 1
    assert_one_line(outcome.err)
    assert "nowhere: there is no such folder" in outcome.err


def test_a_missing_data_file_is_named(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line(
        "stage=cost", "data=jsonl", "data.train=nowhere.jsonl", f"artifacts={tmp_path}", "model=minilm"
    )
    assert outcome.code == 1
    assert_one_line(outcome.err)
    assert "nowhere.jsonl" in outcome.err


def test_debug_shows_the_traceback_as_well(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line("stage=ppo", "debug=true", f"artifacts={tmp_path}")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.strip().splitlines()[-1].startswith("error: stage=ppo needs")


def test_nothing_is_written_for_a_mistake(
    command_line: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command_line("stage=sft", "ppo.iteration=3")
    command_line("stage=sft", "sft.batch_size=abc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UserError("data.train=x: line 3\nis broken"), "data.train=x: line 3 is broken"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a/b"), "a/b: there is no such file"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: no permission"),
        (OSError(errno.ENOSPC, "No space left", "a/b"), "no space left on the disk (a/b)"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a/b"), "no space left on the disk (a/b)"),
        (OSError(errno.EROFS, "Read-only file system", "a/b"), "a/b: the disk can only be read; set artifacts="),
    ],
)
def test_messages_are_single_lines(error: Exception, text: str) -> None:
    message = cli.one_line(error)
    assert message is not None
    assert message.startswith(text)
    assert "\n" not in message


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.report(KeyError("a bug")) == 1
    assert "KeyError: 'a bug'" in capsys.readouterr().err


def test_interrupts_end_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.report(KeyboardInterrupt("sft: interrupted; resume with: x")) == 130
    assert capsys.readouterr().err.strip() == "sft: interrupted; resume with: x"


def test_warnings_about_the_input_are_one_line_and_others_name_their_code() -> None:
    assert cli.format_warning(InputWarning("data.train: 1 row\nis odd"), InputWarning, "x.py", 3) == (
        "warning: data.train: 1 row is odd\n"
    )
    assert "x.py:3: UserWarning: hm" in cli.format_warning(UserWarning("hm"), UserWarning, "x.py", 3)
