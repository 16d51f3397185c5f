"""``python -m csrlhf.chat``: chat with a policy in the terminal, by rejection sampling (docs/how-to/decode.md).

An answer is shown when it is accepted, not while it is drawn: streaming a candidate that is rejected in the end would
show what must not be shown. Where nothing can be rejected (``--cost none`` or ``--threshold none``) one candidate
streams. Without a terminal every line of the input is a question, and the output is plain.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csrlhf import artifacts, cli
from csrlhf.errors import UserError

if TYPE_CHECKING:
    from csrlhf.decoding import Decoder

POLICY = f"artifacts/ppo/{artifacts.LATEST}"
SCORERS = {"reward": "artifacts/reward", "cost": "artifacts/cost"}
"""Taken where they stand and nothing else is named."""


def main(words: Sequence[str]) -> int:
    """Chat until the input ends; returns the exit code."""
    from csrlhf.callbacks.quiet import quiet

    warnings.formatwarning = cli.format_warning
    try:
        options = parse(words)
        quiet()
        from csrlhf.decoding.conversation import Conversation
        from csrlhf.decoding.terminal import Chat, once

        conversation = Conversation(make_decoder(options))
        if options.once is not None:
            return once(conversation, options.once)
        return Chat(conversation).run()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
        return cli.report(error)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser("python -m csrlhf.chat", description="Talk to a policy (docs/how-to/decode.md).")
    add = parser.add_argument
    add("--policy", default=POLICY, help="folder or hub name (%(default)s)")
    add("--reward", help=f"reward model, or none ({SCORERS['reward']} if it exists)")
    add("--cost", action="append", help=f"cost model, several times for several, or none ({SCORERS['cost']} likewise)")
    add("--best-of", type=int, default=1, metavar="N", help="the most candidates per response (%(default)s)")
    add(
        "--threshold", default="0", help="highest cost logit that is shown: 0, harm=0,privacy=-1, or none (%(default)s)"
    )
    add("--rule", choices=("best", "first"), help="best by reward, or first accepted (best where there is a reward)")
    add("--refusal", help="the response where every candidate is rejected")
    add("--temperature", type=float, help="of sampling; this and the next as in the policy's training, where known")
    add("--top-k", type=int)
    add("--top-p", type=float)
    add("--max-new-tokens", type=int)
    add("--greedy", action="store_true", default=None, help="greedy decoding; one candidate")
    add("--seed", type=int, default=0, help="seed of the samples (%(default)s)")
    add("--device", help="cpu, cuda, ... (a GPU where there is one)")
    add("--once", metavar="PROMPT", help="answer this alone: the answer on stdout, its scores on stderr")
    return parser.parse_args(words)


def make_decoder(options: argparse.Namespace) -> Decoder:
    """The decoder that the options describe.

    Raises:
        UserError: a model is missing or a value out of range.
    """
    from csrlhf.decoding import Decoder

    if options.policy == POLICY and not Path(POLICY).is_dir():
        raise UserError(f"--policy: there is no {POLICY} here; make one with: python train.py, or name a folder")
    reward = _scorer("reward", options.reward)
    costs = [spec for spec in options.cost or [_scorer("cost", None)] if spec not in (None, "none")]
    given = ("temperature", "top_k", "top_p", "max_new_tokens", "greedy", "refusal")
    try:
        return Decoder(
            options.policy,
            reward,
            None if not costs else costs[0] if len(costs) == 1 else costs,
            n=options.best_of,
            threshold=_threshold(options.threshold),
            rule=options.rule or ("first" if reward is None else "best"),
            seed=options.seed,
            device=options.device,
            **{name: value for name in given if (value := getattr(options, name)) is not None},
        )
    except UserError as error:
        raise UserError(_as_option(str(error))) from error


def _scorer(role: str, given: str | None) -> str | None:
    if given is not None:
        return None if given == "none" else given
    return SCORERS[role] if Path(SCORERS[role]).is_dir() else None


def _threshold(text: str) -> Any:
    """``0``, ``none``, or ``harm=0,privacy=-1``."""
    try:
        if "=" not in text:
            return math.inf if text == "none" else float(text)
        pairs = (part.split("=", 1) for part in text.split(","))
        return {name.strip(): math.inf if value.strip() == "none" else float(value) for name, value in pairs}
    except ValueError as error:
        raise UserError(f"--threshold={text}: must be a cost logit, none, or such as harm=0,privacy=-1") from error


def _as_option(message: str) -> str:
    """The decoder's complaint with the option in place of its argument."""
    word, equals, rest = message.partition("=")
    options = {"n": "best-of", "rule": "rule", "threshold": "threshold", "policy": "policy", "reward": "reward"}
    options |= {"cost": "cost", "temperature": "temperature", "top_k": "top-k", "top_p": "top-p"}
    options |= {"max_new_tokens": "max-new-tokens"}
    return f"--{options[word]}={rest}" if equals and word in options else message


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
