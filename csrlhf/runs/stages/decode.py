"""``stage=decode``: a file of prompts in, a file of answers out, best of N with abstention (docs/how-to/decode.md).

Trains nothing and needs no trainer. What decides an answer makes the run's fingerprint: a run that was killed goes on
behind the answers that it has kept, and one whose result stands is not repeated.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from csrlhf import __version__
from csrlhf.data.tables.readers import content_hash
from csrlhf.errors import UserError, system_message
from csrlhf.runs import artifacts
from csrlhf.runs import plan as provenance
from csrlhf.runs.artifacts import fingerprint
from csrlhf.runs.conversations import conversations_record, tell_clock
from csrlhf.runs.inputs import input_fingerprint, put, resolve, standing_folder
from csrlhf.runs.plan import Plan, folders
from csrlhf.runs.processes import one_of_several, readable
from csrlhf.runs.stages.base import COST, PPO, REWARD, Stage, run_of

if TYPE_CHECKING:
    from csrlhf.generation.decoder import Decoder
    from csrlhf.generation.records import Question

# From the config of ``stage=decode`` to its decoder; what the decoder complains of stands under its key there.

DEVICES = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps", "auto": None}
"""Lightning's accelerators as torch's devices; None is a GPU where there is one."""


def decoder_inputs(cfg: DictConfig, command: str) -> dict[str, str]:
    """Folders of policy, cost models and reward model."""
    replaced = STAGE.replaced(cfg)
    return resolve(cfg, [one for one in STAGE.inputs if one.name not in replaced], command)


def build_decoder(cfg: DictConfig, inputs: dict[str, str]) -> Decoder:
    """The decoder that the config describes.

    Args:
        cfg: the composed config; what it needs of ``inputs`` is put in.
        inputs: folders by name, see ``decoder_inputs``.

    Raises:
        UserError: a value is out of range or a model is missing, under the name of its key.
    """
    from csrlhf.generation.decoder import Decoder
    from csrlhf.generation.sampler import sampling_record

    for key, path in inputs.items():
        put(cfg, key, path)
    reward, cost, threshold = (
        OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for value in (cfg.inputs.reward, cfg.inputs.cost, cfg.decode.threshold)
    )
    ranked = any(name.partition(".")[0] == "reward" for name in inputs)
    if cfg.trainer.accelerator not in DEVICES:
        raise UserError(f"trainer.accelerator={cfg.trainer.accelerator}: must be one of {', '.join(DEVICES)}")
    try:
        return Decoder(
            inputs["ppo"],
            reward if ranked else None,
            cost,
            n=cfg.decode.n,
            threshold=threshold,  # type: ignore[arg-type]  # checked there
            rule=cfg.decode.rule,
            refusal=cfg.decode.refusal,
            seed=cfg.seed,
            batch_size=cfg.decode.batch_size,
            device=DEVICES[cfg.trainer.accelerator],
            chat=instantiate(cfg.model.chat),
            **sampling_record(instantiate(cfg.rollout)),
        )
    except UserError as error:
        raise UserError(_with_keys(str(error))) from error


def _with_keys(message: str) -> str:
    """The decoder's complaint under the names that its arguments have in the configuration."""
    word, equals, rest = message.partition("=")
    names = {"policy": "inputs.ppo", "reward": "inputs.reward", "cost": "inputs.cost"}
    if equals and word in ("n", "rule", "threshold", "batch_size", "refusal"):
        return f"decode.{message}"
    role, point, part = word.partition(".")
    return f"{names[role]}{point}{part}={rest}" if equals and role in names else message


ANSWERS = "decoded.jsonl"


def run(cfg: DictConfig, overrides: Sequence[str], program: Sequence[str]) -> tuple[dict[str, float], Path]:
    """Answers all prompts of ``decode.prompts``.

    Args:
        cfg: the composed config.
        overrides: of no use here.
        program: the words that start this program, for hints.

    Returns:
        The numbers of ``metrics.json``, keyed as in docs/reference/metrics.md, and their folder.

    Raises:
        UserError: a value is out of range, an input or the certificate is missing or wrong, a prompt is broken.
        KeyboardInterrupt: with the way to go on.
    """
    from csrlhf.tracking.quiet import quiet

    quiet()
    _refuse_processes(cfg)
    started = time.monotonic()
    if cfg.decode.prompts is None:
        raise UserError("decode.prompts=null: name the file of prompts, decode.prompts=FILE.jsonl")
    from csrlhf.evaluation.certificates.document import read_certificate
    from csrlhf.generation.records import answer_numbers, read_questions, summary

    questions = read_questions(str(cfg.decode.prompts))
    inputs = decoder_inputs(cfg, readable(program))
    decoder = build_decoder(cfg, inputs)
    certificate = None
    if cfg.decode.certificate is not None:
        certificate = read_certificate(str(cfg.decode.certificate), decoder.identity())
    decoder.check([one.prompt for one in questions], [one.place for one in questions])
    tell_clock("decode", decoder.speaker.tokenizer)
    plan = _plan(cfg, inputs, decoder, certificate)
    if artifacts.restore(plan.folder, plan.fingerprint):
        print(f"decode: unchanged, {plan.folder}", flush=True)
        return json.loads((plan.folder / "metrics.json").read_text(encoding="utf-8")), plan.folder
    cfg.work = str(plan.work)
    plan.work.mkdir(parents=True, exist_ok=True)
    decoder.judges.keep_in(plan.work / artifacts.KEPT)
    try:
        records = _answer(cfg, decoder, questions, plan, certificate)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("decode: interrupted; the same command continues with the remaining prompts") from error
    except OSError as error:  # a full disk, one that has gone
        raise UserError(f"{system_message(error)}; the same command continues with the remaining prompts") from error
    metrics = answer_numbers(records)
    _publish(cfg, plan, decoder, questions, certificate, records, metrics)
    print(summary(metrics))
    print(f"decode: {plan.folder / ANSWERS} ({time.monotonic() - started:.0f} s)", flush=True)
    return metrics, plan.folder


def _answer(
    cfg: DictConfig, decoder: Decoder, questions: Sequence[Question], plan: Plan, certificate: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Goes on behind what is kept; returns the lines of all prompts."""
    from csrlhf.generation.journal import Journal
    from csrlhf.generation.records import answer_records, batches_of, record_line
    from csrlhf.generation.speaker import computing
    from csrlhf.tracking.display import StageProgress, progress_bar
    from csrlhf.tracking.progress import Progress

    journal: Journal[dict[str, Any]] = Journal(plan.work / artifacts.KEPT, {"decode": plan.fingerprint}, record_line)
    batches = batches_of(decoder, len(questions))
    standing = sum(len(numbers) for numbers in batches if journal.holds(plan.stage, numbers))
    if standing:
        print(f"decode: resuming after {standing} of {len(questions)} prompts", flush=True)
    bar = progress_bar("decode", ["decode/*"])
    assert isinstance(bar, StageProgress)
    progress = Progress("decode", len(questions), standing, offset=standing)
    records: list[dict[str, Any]] = []
    bar.open(progress)
    try:
        with computing(cfg.trainer.precision, decoder.speaker):
            for numbers in batches:
                parts = decoder, questions, numbers, certificate, cfg.decode.candidates
                records += journal.batch(plan.stage, numbers, partial(answer_records, *parts))
                if len(records) <= standing:
                    continue
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
    prints = {name: input_fingerprint(cfg, name, path) for name, path in inputs.items()}
    data = {"prompts": content_hash(str(cfg.decode.prompts))}
    settings = decoder.identity() | {
        "seed": decoder.drawing.seed,
        "refusal": decoder.refusal,
        "batch_size": decoder.drawing.batch_size,  # by the rounding of wider and narrower batches
        "precision": cfg.trainer.precision,
        "candidates": cfg.decode.candidates,
        "certificate": None if certificate is None else certificate["sha256"],
    }
    digest = fingerprint("decode", settings, prints, data, __version__)
    folder, work = folders(cfg, STAGE, {}, inputs, digest)
    return Plan("decode", folder, work, digest, inputs, prints, data, declared=STAGE)


def _publish(
    cfg: DictConfig,
    plan: Plan,
    decoder: Decoder,
    questions: Sequence[Question],
    certificate: dict[str, Any] | None,
    records: Sequence[dict[str, Any]],
    metrics: dict[str, float],
) -> None:
    from csrlhf.data.seen import DECODE, Seen, decoding_digest
    from csrlhf.generation.records import record_line
    from csrlhf.generation.sampler import sampling_record
    from csrlhf.runs.seen_prompts import record_seen

    def write(folder: Path) -> None:
        artifacts.write_whole(folder / ANSWERS, "".join(f"{record_line(one)}\n" for one in records).encode())
        artifacts.write_json(folder / "metrics.json", metrics)
        made = {"decode": decoder.identity(), "certificate": certificate}
        made |= conversations_record(decoder.speaker.tokenizer)
        artifacts.write_json(folder / artifacts.RECORD, provenance.record(cfg, plan, metrics) | made)

    identity = {"decode": "best_of_n", "sampling": sampling_record(decoder.speaker.sampler), **decoder.identity()}
    digest = decoding_digest(identity | {"refusal": decoder.refusal})
    policy = {Path(plan.inputs["ppo"]).resolve().name: plan.inputs["ppo"]}
    record_seen(Path(cfg.artifacts), plan.folder, Seen(DECODE, policy, [one.prompt for one in questions], digest))
    artifacts.publish(plan.folder, write)
    shutil.rmtree(plan.work, ignore_errors=True)


def _refuse_processes(cfg: DictConfig) -> None:
    if said := one_of_several(os.environ):
        raise UserError(f"stage=decode runs in one process ({said}); start it without the launcher")
    if cfg.trainer.devices not in (1, "1", "auto"):
        raise UserError(
            f"trainer.devices={cfg.trainer.devices}: stage=decode runs in one process; set trainer.devices=1"
        )


def _replaced(cfg: DictConfig) -> set[str]:
    """The rule ``first`` chooses without a reward model, and takes one that is there."""
    there = cfg.inputs.reward is not None or artifacts.read_record(standing_folder(Path(cfg.artifacts), "reward"))
    return set() if there or cfg.decode.rule != "first" else {REWARD.name}


STAGE = Stage(
    inputs=(PPO, REWARD, COST),
    replaced=_replaced,
    run_name=lambda cfg, choices, inputs, digest: f"{run_of(inputs)}-{digest[:8]}",
    artifact="answers",
    run=run,
)
