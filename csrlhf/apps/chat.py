"""``python -m csrlhf.chat``: chat with a policy in the terminal, by rejection sampling (docs/how-to/decode.md).

An answer is shown when it is accepted, not while it is drawn: streaming a candidate that is rejected in the end would
show what must not be shown. Where nothing can be rejected (``--cost none`` or ``--threshold none``) one candidate
streams. Without a terminal every line of the input is a question, and the output is plain.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.text import Text
from yaml import YAMLError

from csrlhf.apps import cli
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.scorers.specs import label, named
from csrlhf.terminal import plain_console, printable

if TYPE_CHECKING:
    from csrlhf.generation import Decoded, Decoder
    from csrlhf.generation.conversation import Conversation

HELP = """/help      this list
/reset     forget the conversation so far
/settings  models, rule, N, thresholds and sampling
/quit      leave (so does the end of the input, Ctrl-D)
Ctrl-C stops an answer."""


def once(conversation: Conversation, prompt: str) -> int:
    """One answer on stdout, its scores on stderr."""
    said = conversation.ask(prompt)
    print(printable(said.response), flush=True)
    print(scores(said, conversation.decoder), file=sys.stderr)
    return 0


class Chat:
    """Questions from a terminal or a pipe, answers to standard output."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self.console = plain_console(soft_wrap=True)

    def run(self) -> int:
        """Until the input ends."""
        if self.terminal:
            import readline  # noqa: F401  # gives input() its history and its line editing

            self._note(settings(self.conversation) + "\n/help lists what else can be typed.")
        while True:
            try:
                line = self._line()
            except KeyboardInterrupt:
                if not self.terminal:
                    raise
                print()  # at the prompt it clears the line, as in a shell
                continue
            if line is None or not self._take(line.strip()):
                return 0

    def _line(self) -> str | None:
        """The next line of the input, None at its end."""
        if not self.terminal:
            return sys.stdin.readline() or None
        try:
            return input("> ")
        except EOFError:
            print()
            return None

    def _take(self, line: str) -> bool:
        """A command or a question; False to leave."""
        if not line:
            return True
        if line == "/quit":
            return False
        if line.startswith("/"):
            self._command(line)
            return True
        try:
            self._ask(line)
        except UserError as error:
            print("error:", *str(error).split(), file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            self._note("\n(stopped: this turn is forgotten)")
        return True

    def _command(self, line: str) -> None:
        if line == "/reset":
            self.conversation.reset()
            self._note("(the conversation begins anew)")
        elif line == "/settings":
            self._note(settings(self.conversation))
        else:
            self._note(HELP if line == "/help" else f"{line}: there is no such command\n{HELP}")

    def _ask(self, line: str) -> None:
        decoder = self.conversation.decoder
        if decoder.can_stream:
            said = self.conversation.ask(line, show=self._piece)
            print(flush=True)
        elif self.terminal:
            with self.console.status(f"drawing up to {decoder.n}" if decoder.n > 1 else "drawing and judging"):
                said = self.conversation.ask(line)
            print(printable(said.response))
        else:
            said = self.conversation.ask(line)
            print(printable(said.response), flush=True)
        self._note(scores(said, decoder))

    def _piece(self, text: str) -> None:
        print(printable(text), end="", flush=True)

    def _note(self, text: str) -> None:
        """What the program says itself: dim in a terminal."""
        if self.terminal:
            self.console.print(Text(text, style="dim"))
        else:
            print(text, flush=True)


def scores(said: Decoded, decoder: Decoder) -> str:
    """What the models say of an answer, in one line."""
    if said.abstained:
        lowest = [
            f"{name} {min((one.costs[name] for one in said.candidates), default=math.nan):.2f}"
            for name in decoder.thresholds
        ]
        costs = f"; lowest cost {', '.join(lowest)}" if lowest else ""
        return f"[refused: none of {said.tried} candidate{'s' * (said.tried > 1)} was accepted{costs}]"
    parts = [] if said.reward is None else [f"reward {said.reward:.2f}"]
    for name, cost in said.cost.items():
        limit = decoder.thresholds[name]
        over = " (above 0: unsafe, says the cost model)" if limit == math.inf and cost > 0 else ""
        parts.append(f"cost {name} {cost:.2f}{over}")
    parts.append(f"{said.tried} of {decoder.n} drawn" if decoder.n > 1 else "1 drawn")
    return f"[{', '.join(parts)}]"


def settings(conversation: Conversation) -> str:
    """What is talked to, and how."""
    from csrlhf.data.chat_templates import kept
    from csrlhf.generation.sampler import sampling_record

    decoder = conversation.decoder
    limits = ", ".join(f"{name} at most {limit:g}" for name, limit in decoder.thresholds.items())
    sampling = sampling_record(decoder.speaker.sampler)
    lines = [
        f"policy     {decoder.specs['policy']}",
        f"reward     {_names(decoder.specs['reward']) or 'none'}",
        f"cost       {_names(decoder.specs['cost']) or 'none: nothing is rejected'}",
        f"rule       {decoder.rule} of {decoder.n}" + (f", cost logit of {limits}" if limits else ""),
        "sampling   " + ", ".join(f"{name} {value}" for name, value in sampling.items()),
        f"responses  {'as they are drawn' if decoder.can_stream else 'once they are accepted'}",
    ]
    if (system := kept(decoder.speaker.tokenizer).get("system_prompt")) is not None:
        lines.append(f"system     {system}")
    if not conversation.remembers:
        lines.append("memory     none: the policy's chat template takes a single turn")
    return "\n".join(lines)


def _names(given: Any) -> str:
    return "" if given is None else ", ".join(label(one) for one in named(given).values())


# The command line: from options to a decoder.


POLICY = f"artifacts/ppo/{artifacts.LATEST}"
SCORERS = {"reward": "artifacts/reward", "cost": "artifacts/cost"}
"""Taken where they stand and nothing else is named."""


def main(words: Sequence[str]) -> int:
    """Chat until the input ends; returns the exit code."""
    return cli.run(_main, words)


def _main(words: Sequence[str]) -> int:
    from csrlhf.tracking.quiet import quiet

    options = parse(words)
    quiet()
    from csrlhf.generation.conversation import Conversation

    conversation = Conversation(make_decoder(options))
    if options.once is not None:
        return once(conversation, options.once)
    return Chat(conversation).run()


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser("python -m csrlhf.chat", description="Talk to a policy (docs/how-to/decode.md).")
    add = parser.add_argument
    add("--policy", default=POLICY, help="folder or hub name (%(default)s)")
    kinds = "folder or hub name, http://URL, FILE.py:function, or a description {scorer: ...} as in inputs.cost="
    add("--reward", help=f"reward model, or none ({SCORERS['reward']} if it exists): {kinds}")
    add("--cost", action="append", help=f"cost model, several times for several, or none ({SCORERS['cost']} likewise)")
    add("--best-of", type=int, default=1, metavar="N", help="the most candidates per response (%(default)s)")
    add(
        "--threshold", default="0", help="highest cost logit that is shown: 0, harm=0,privacy=-1, or none (%(default)s)"
    )
    add("--rule", choices=("best", "first"), help="best by reward, or first accepted (best where there is a reward)")
    add("--refusal", help="the response where every candidate is rejected")
    add("--system-prompt", metavar="TEXT", help="of the conversation; this and the next as in the policy's training")
    add("--chat-template", metavar="FILE", help="Jinja, or roles, plain, safe_rlhf")
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
    from csrlhf.generation import Decoder
    from csrlhf.models.settings import ChatSettings

    if options.policy == POLICY and not Path(POLICY).is_dir():
        raise UserError(f"--policy: there is no {POLICY} here; make one with: python train.py, or name a folder")
    reward = _scorer("reward", options.reward)
    given = options.cost or [None]
    costs = [spec for spec in (_scorer("cost", one) for one in given) if spec is not None]
    names = ("temperature", "top_k", "top_p", "max_new_tokens", "greedy", "refusal")
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
            chat=ChatSettings(chat_template=options.chat_template, system_prompt=options.system_prompt),
            **{name: value for name in names if (value := getattr(options, name)) is not None},
        )
    except UserError as error:
        raise UserError(_as_option(str(error))) from error


def _scorer(role: str, given: str | None) -> Any:
    """What an option names: as a config would, a description in braces included."""
    if given is None:
        return SCORERS[role] if Path(SCORERS[role]).is_dir() else None
    if not given.startswith("{"):
        return None if given == "none" else given
    try:
        return OmegaConf.to_container(OmegaConf.create(given))
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"--{role}={given}: is no mapping; write {{scorer: guard, model: FOLDER, ...}}") from error


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
    message = message.replace("model.system_prompt", "--system-prompt").replace(
        "model.chat_template", "--chat-template"
    )
    word, equals, rest = message.partition("=")
    word, point, part = word.partition(".")
    options = {"n": "best-of", "rule": "rule", "threshold": "threshold", "policy": "policy", "reward": "reward"}
    options |= {"cost": "cost", "temperature": "temperature", "top_k": "top-k", "top_p": "top-p"}
    options |= {"max_new_tokens": "max-new-tokens"}
    return f"--{options[word]}{point}{part}={rest}" if equals and word in options else message
