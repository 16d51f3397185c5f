"""``stage=decode``: a file of prompts in, a file of answers out, best of N with abstention (docs/decode.md).

Trains nothing and needs no trainer. What decides an answer makes the run's fingerprint: a run that was killed goes on
where its file of answers ends, and one whose result stands is not repeated.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from csrlhf import __version__, artifacts, provenance
from csrlhf.decoder_building import build_decoder, decoder_inputs
from csrlhf.errors import UserError, system_message
from csrlhf.fingerprint import fingerprint
from csrlhf.pipeline import RANK_VARIABLES
from csrlhf.plan import Plan, checked_name

if TYPE_CHECKING:
    from csrlhf.decoding.decoder import Decoder
    from csrlhf.decoding.prompt_file import Question

ANSWERS = "decoded.jsonl"


def run(cfg: DictConfig, command: str) -> dict[str, float]:
    """Answers all prompts of ``decode.prompts``.

    Args:
        cfg: the composed config.
        command: how the user starts the program, for hints.

    Returns:
        The numbers of ``metrics.json``, keyed as in docs/metrics.md.

    Raises:
        UserError: a value is out of range, an input or the certificate is missing or wrong, a prompt is broken.
        KeyboardInterrupt: with the way to go on.
    """
    from csrlhf.callbacks.quiet import quiet

    quiet()
    _refuse_processes(cfg)
    started = time.monotonic()
    if cfg.decode.prompts is None:
        raise UserError("decode.prompts=null: name the file of prompts, decode.prompts=FILE.jsonl")
    from csrlhf.decoding.answer_numbers import answer_numbers, summary
    from csrlhf.decoding.certificate import read_certificate
    from csrlhf.decoding.prompt_file import read_questions

    questions = read_questions(str(cfg.decode.prompts))
    inputs = decoder_inputs(cfg, command)
    decoder = build_decoder(cfg, inputs)
    certificate = None
    if cfg.decode.certificate is not None:
        certificate = read_certificate(str(cfg.decode.certificate), decoder.identity())
    decoder.check([one.prompt for one in questions], [one.place for one in questions])
    plan = _plan(cfg, inputs, decoder, certificate)
    if artifacts.restore(plan.folder, plan.fingerprint):
        print(f"decode: unchanged, {plan.folder}", flush=True)
        return json.loads((plan.folder / "metrics.json").read_text(encoding="utf-8"))
    cfg.work = str(plan.work)
    plan.work.mkdir(parents=True, exist_ok=True)
    try:
        records = _answer(cfg, decoder, questions, plan.work / ANSWERS, certificate)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            "decode: interrupted; the same command goes on with the prompts that are left"
        ) from error
    except OSError as error:  # a full disk, one that has gone
        raise UserError(f"{system_message(error)}; the same command goes on with the prompts that are left") from error
    metrics = answer_numbers(records)
    _publish(cfg, plan, decoder, certificate, metrics)
    print(summary(metrics))
    print(f"decode: {plan.folder / ANSWERS} ({time.monotonic() - started:.0f} s)", flush=True)
    return metrics


def _answer(
    cfg: DictConfig, decoder: Decoder, questions: Sequence[Question], path: Path, certificate: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Goes on where the file ends; returns all of its lines."""
    from csrlhf.callbacks.display import StageProgress, progress_bar
    from csrlhf.callbacks.progress import Progress
    from csrlhf.decoding.answering import answered
    from csrlhf.decoding.precision import computing

    groups = answered(decoder, questions, path, certificate, cfg.decode.candidates)
    records = next(groups)  # those that stand
    if records:
        print(f"decode: going on behind {len(records)} of {len(questions)} prompts", flush=True)
    bar = progress_bar("decode", ["decode/*"])
    assert isinstance(bar, StageProgress)
    progress = Progress("decode", len(questions), len(records), offset=len(records))
    bar.open(progress)
    try:
        with computing(cfg.trainer.precision, decoder.speaker):
            for records in groups:
                progress.done, progress.stepped = len(records), time.monotonic()
                progress.metrics = {
                    "abstained": fmean(record["abstained"] for record in records),
                    "tried": fmean(record["tried"] for record in records),
                }
                bar.draw(progress)
    finally:
        bar.close(progress)
    return records


def _plan(cfg: DictConfig, inputs: dict[str, str], decoder: Decoder, certificate: dict[str, Any] | None) -> Plan:
    from csrlhf.decoding.prompt_file import questions_hash

    prints = {name: artifacts.fingerprint_of(path) for name, path in inputs.items()}
    data = {"prompts": questions_hash(str(cfg.decode.prompts))}
    settings = decoder.identity() | {
        "seed": decoder.drawing.seed,
        "refusal": decoder.refusal,
        "batch_size": decoder.drawing.batch_size,  # by the rounding of wider and narrower batches
        "precision": cfg.trainer.precision,
        "candidates": cfg.decode.candidates,
        "certificate": None if certificate is None else certificate["sha256"],
    }
    digest = fingerprint("decode", settings, prints, data, __version__)
    root = Path(cfg.artifacts)
    name = checked_name(cfg.name) or f"{Path(inputs['ppo']).resolve().name}-{digest[:8]}"
    return Plan(
        stage="decode",
        folder=root / "decode" / name,
        work=root / ".work" / f"decode-{digest[:8]}",
        fingerprint=digest,
        inputs=inputs,
        input_fingerprints=prints,
        data=data,
    )


def _publish(
    cfg: DictConfig, plan: Plan, decoder: Decoder, certificate: dict[str, Any] | None, metrics: dict[str, float]
) -> None:
    def write(folder: Path) -> None:
        shutil.copy2(plan.work / ANSWERS, folder / ANSWERS)
        artifacts.write_json(folder / "metrics.json", metrics)
        made = {"decode": decoder.identity(), "certificate": certificate}
        artifacts.write_json(folder / artifacts.RECORD, provenance.record(cfg, plan, metrics) | made)

    artifacts.publish(plan.folder, write)
    shutil.rmtree(plan.work, ignore_errors=True)


def _refuse_processes(cfg: DictConfig) -> None:
    for name, single in RANK_VARIABLES.items():
        value = os.environ.get(name, "0")
        if value.isdigit() and int(value) > single:
            raise UserError(f"stage=decode runs in one process ({name}={value}); start it without the launcher")
    if cfg.trainer.devices not in (1, "1", "auto"):
        raise UserError(
            f"trainer.devices={cfg.trainer.devices}: stage=decode runs in one process; set trainer.devices=1"
        )
