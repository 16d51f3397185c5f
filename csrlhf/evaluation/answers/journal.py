"""Answers kept while they are computed, so that a killed evaluation goes on where it stood.

Each process appends the answers of one policy to one batch as JSON lines, below a first line that says which evaluation
they belong to. A batch counts where it is whole; what is missing is answered in the same batches as without the
interruption (the noise is a pure function of seed and index), and comes out the same to the digit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.data.tables.record import Record
from csrlhf.errors import UserError, writing
from csrlhf.evaluation.answers.records import Answer, about_path, answer_line, answer_of, read_about
from csrlhf.models.cost_models import named_folders
from csrlhf.models.identity import model_identity


class Journal:
    """The answers of one evaluation so far, by policy and by their index among all that are asked for.

    Args:
        folder: where the files of all processes lie.
        about: the evaluation that the answers belong to, JSON-ready.
        rank: of this process, which writes its own file.

    Raises:
        UserError: kept answers are of another evaluation, or a line is broken.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], rank: int = 0) -> None:
        self._head = json.dumps(about, sort_keys=True)
        self._path = folder / f"answers-{rank}.jsonl"
        self._known: dict[tuple[str, int], Answer] = {}
        for path in sorted(folder.glob("answers-*.jsonl")):
            self._read(path)

    def holds(self, policy: str, index: Iterable[int]) -> bool:
        """True if all these answers of a policy are there."""
        return all((policy, number) in self._known for number in index)

    def answers(self, policy: str, index: Iterable[int]) -> list[Answer]:
        """These answers of a policy, which are there."""
        return [self._known[policy, number] for number in index]

    def append(self, index: Sequence[int], answers: Sequence[Answer]) -> None:
        """Write the answers of a batch, and wait until they are on the disk.

        Raises:
            UserError: a score is not a finite number.
        """
        pairs = zip(index, answers, strict=True)
        lines = [f'{{"index": {number}, "answer": {answer_line(answer)}}}\n' for number, answer in pairs]
        if not self._path.exists() or not self._path.stat().st_size:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines.insert(0, f"{self._head}\n")
        with writing(self._path), self._path.open("ab") as file:
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def _read(self, path: Path) -> None:
        """Take the whole lines of a file; the process that wrote it cuts off what a kill left behind them."""
        content = path.read_bytes()
        size = content.rfind(b"\n") + 1
        if path == self._path and size < len(content):
            os.truncate(path, size)
        head, *lines = content[:size].split(b"\n")[:-1] or [b""]
        if head and head.decode(errors="replace") != self._head:
            raise UserError(f"{path}:1: these answers are of another evaluation; start anew, without resume=true")
        for number, line in enumerate(lines, start=2):
            index, answer = _parsed(f"{path}:{number}", line)
            self._known[answer.policy, index] = answer


def kept_or_fresh(
    journal: Journal | None,
    policy: str,
    index: Sequence[int],
    everywhere: Iterable[int],
    answer: Callable[[], list[Answer]],
) -> list[Answer]:
    """A policy's answers to a batch: those in the journal, else fresh ones, which are kept there.

    Args:
        journal: None keeps none.
        policy: its name.
        index: numbers of the answers of this process.
        everywhere: of all processes: they take what stands together, or answer together.
        answer: answers the batch.
    """
    if journal is None:
        return answer()
    if journal.holds(policy, everywhere):
        return journal.answers(policy, index)
    answers = answer()
    journal.append(index, answers)
    return answers


def _parsed(place: str, line: bytes) -> tuple[int, Answer]:
    try:
        kept = json.loads(line)
        index, fields = int(kept["index"]), dict(kept["answer"])
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{place}: is not a kept answer, the file was changed; start anew, without resume=true"
        ) from error
    return index, answer_of(Record(place, fields))


# Answers that were kept: are they still what was written, and are they of this policy and this cost model?


def read_kept(outputs: str) -> dict[str, Any]:
    """The provenance of kept answers.

    Args:
        outputs: an ``answers.jsonl`` of an earlier certificate.

    Raises:
        UserError: the file is missing, was changed, or is of no certificate.
    """
    if not Path(outputs).expanduser().is_file():
        raise UserError(f"certify.outputs={outputs}: there is no such file; name an answers.jsonl of stage=certify")
    about = read_about(outputs)
    if about.get("kind") != "certification":
        raise UserError(
            f"certify.outputs={outputs}: {about_path(Path(outputs)).name} beside it does not say that "
            "stage=certify wrote these responses; other prompts may have been seen before. Let stage=certify "
            "generate responses"
        )
    if about["edited"]:
        raise UserError(
            f"certify.outputs={outputs}: was changed after it was written (its sha256 is "
            f"{about['sha256'][:12]}..., not the one beside it); a certificate stands on the responses as they were. "
            "Restore the file, or generate anew"
        )
    return about


def check_models(about: Mapping[str, Any], outputs: str, inputs: Mapping[str, Any]) -> None:
    """Raises where kept answers are of another policy or cost model.

    Args:
        about: their provenance.
        outputs: their file, for the message.
        inputs: folders of the policy ``ppo`` and of the cost models ``cost``, as they are now.
    """
    now = {"ppo": {model_identity(str(inputs["ppo"]))["sha256"]}}
    now["cost"] = {model_identity(folder)["sha256"] for folder in named_folders(inputs["cost"]).values()}
    then = {"ppo": {about["policy"]["sha256"]}, "cost": {one["sha256"] for one in about["cost"].values()}}
    for key, words in (("ppo", "policy"), ("cost", "cost model")):
        if now[key] != then[key]:
            raise UserError(
                f"inputs.{key}={inputs[key]}: is not the {words} of the responses in {outputs} (other weights or "
                f"settings); point inputs.{key}= to that one"
            )
