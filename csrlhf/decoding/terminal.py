"""The terminal of ``csrlhf.chat``: questions from a terminal or a pipe, answers and their scores to standard output."""

from __future__ import annotations

import math
import sys
import unicodedata

from rich.text import Text

from csrlhf.decoding.candidates import Decoded
from csrlhf.decoding.conversation import Conversation
from csrlhf.decoding.decoder import Decoder
from csrlhf.errors import UserError
from csrlhf.rollout.record import sampling_record
from csrlhf.terminal import plain_console

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
    decoder = conversation.decoder
    limits = ", ".join(f"{name} at most {limit:g}" for name, limit in decoder.thresholds.items())
    sampling = sampling_record(decoder.speaker.sampler)
    lines = [
        f"policy     {decoder.specs['policy']}",
        f"reward     {decoder.specs['reward'] or 'none'}",
        f"cost       {decoder.specs['cost'] or 'none: nothing is rejected'}",
        f"rule       {decoder.rule} of {decoder.n}" + (f", cost logit of {limits}" if limits else ""),
        "sampling   " + ", ".join(f"{name} {value}" for name, value in sampling.items()),
        f"answers    {'as they are drawn' if decoder.can_stream else 'once they are accepted'}",
    ]
    if not conversation.remembers:
        lines.append("memory     none: the policy's chat template takes a single turn")
    return "\n".join(lines)


def printable(text: str) -> str:
    """Without control characters: what a model writes must not move the cursor or rewrite the window's title."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs"))
