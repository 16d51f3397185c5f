"""``stage=decode``: a file of prompts in, a file of answers out, best of N with abstention (docs/how-to/decode.md).

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

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from csrlhf import __version__
from csrlhf.errors import UserError, system_message
from csrlhf.runs import artifacts, provenance
from csrlhf.runs.fingerprint import fingerprint
from csrlhf.runs.inputs import put_input, resolve
from csrlhf.runs.pipeline import RANK_VARIABLES
from csrlhf.runs.plan import Plan, checked_name

if TYPE_CHECKING:
    from csrlhf.generation.decoder import Decoder
    from csrlhf.generation.records import Question


# From the config of ``stage=decode`` to its decoder; what the decoder complains of stands under its key there.

DEVICES = {"cpu": "cpu", "gpu": "cuda", "cuda": "cuda", "mps": "mps", "auto": None}
"""Lightning's accelerators as torch's devices; None is a GPU where there is one."""


def decoder_inputs(cfg: DictConfig, command: str) -> dict[str, str]:
    """Folders of policy, cost models and reward model; ``first`` chooses without one, and takes what is there."""
    root, names = Path(cfg.artifacts), list(cfg.stage.inputs)
    without = cfg.inputs.reward is None and artifacts.read_record(root / "reward") is None
    if cfg.decode.rule == "first" and without:
        names.remove("reward")
    inputs: dict[str, str] = {}
    for name in names:
        inputs |= resolve(cfg, name, root, command)
    return inputs


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
        put_input(cfg.inputs, key, path)
    cost, threshold = (
        OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for value in (cfg.inputs.cost, cfg.decode.threshold)
    )
    if cfg.trainer.accelerator not in DEVICES:
        raise UserError(f"trainer.accelerator={cfg.trainer.accelerator}: must be one of {', '.join(DEVICES)}")
    try:
        return Decoder(
            inputs["ppo"],
            inputs.get("reward"),
            cost,  # type: ignore[arg-type]  # what inputs.cost can be
            n=cfg.decode.n,
            threshold=threshold,  # type: ignore[arg-type]  # checked there
            rule=cfg.decode.rule,
            refusal=cfg.decode.refusal,
            seed=cfg.seed,
            batch_size=cfg.decode.batch_size,
            device=DEVICES[cfg.trainer.accelerator],
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
    return f"{names[word]}={rest}" if equals and word in names else message


ANSWERS = "decoded.jsonl"


def run(cfg: DictConfig, command: str) -> tuple[dict[str, float], Path]:
    """Answers all prompts of ``decode.prompts``.

    Args:
        cfg: the composed config.
        command: how the user starts the program, for hints.

    Returns:
        The numbers of ``metrics.json``, keyed as in docs/reference/metrics.md, and the folder that they stand in.

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
    from csrlhf.evaluation.certificates.scope import read_certificate
    from csrlhf.generation.records import answer_numbers, read_questions, summary

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
        return json.loads((plan.folder / "metrics.json").read_text(encoding="utf-8")), plan.folder
    cfg.work = str(plan.work)
    plan.work.mkdir(parents=True, exist_ok=True)
    try:
        records = _answer(cfg, decoder, questions, plan.work / ANSWERS, certificate)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt("decode: interrupted; the same command continues with the remaining prompts") from error
    except OSError as error:  # a full disk, one that has gone
        raise UserError(f"{system_message(error)}; the same command continues with the remaining prompts") from error
    metrics = answer_numbers(records)
    _publish(cfg, plan, decoder, certificate, metrics)
    print(summary(metrics))
    print(f"decode: {plan.folder / ANSWERS} ({time.monotonic() - started:.0f} s)", flush=True)
    return metrics, plan.folder


def _answer(
    cfg: DictConfig, decoder: Decoder, questions: Sequence[Question], path: Path, certificate: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Goes on where the file ends; returns all of its lines."""
    from csrlhf.generation.records import answered
    from csrlhf.generation.speaker import computing
    from csrlhf.tracking.display import StageProgress, progress_bar
    from csrlhf.tracking.progress import Progress

    groups = answered(decoder, questions, path, certificate, cfg.decode.candidates)
    records = next(groups)  # those that stand
    if records:
        print(f"decode: resuming after {len(records)} of {len(questions)} prompts", flush=True)
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
    from csrlhf.generation.records import questions_hash

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
