"""All prompts of a file answered, a group at a time, behind what an earlier process has answered already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.decoding.answer_file import AnswerFile, answer_record
from csrlhf.decoding.decoder import Decoder
from csrlhf.decoding.prompt_file import Question


def answered(
    decoder: Decoder,
    questions: Sequence[Question],
    path: Path,
    certificate: Mapping[str, Any] | None,
    candidates: bool,
) -> Iterator[list[dict[str, Any]]]:
    """Answers, and writes down each group before the next.

    Args:
        decoder: answers.
        questions: all of them.
        path: the file of answers; its folder exists.
        certificate: the certificate of these answers; each line names it.
        candidates: keep all that were drawn.

    Yields:
        The lines of the file so far: first those that stand, then after each group.

    Raises:
        UserError: a line that stands is not the answer to its question.
    """
    settings = {
        "rule": decoder.rule,
        "n": decoder.n,
        "threshold": decoder.thresholds,
        "seed": decoder.drawing.seed,
        "certificate": None if certificate is None else certificate["sha256"],
    }
    group = max(1, decoder.drawing.batch_size // (decoder.n if decoder.rule == "best" else 1))
    file = AnswerFile(path, questions, group)
    records = file.resume()
    yield records
    for start in range(len(records), len(questions), group):
        part = questions[start : start + group]
        answers = decoder([one.prompt for one in part], range(start, start + len(part)))
        fresh = [answer_record(one, said, settings, candidates) for one, said in zip(part, answers, strict=True)]
        file.append(fresh)
        records += fresh
        yield records
