"""A Python function as a scorer: ``(prompts, responses) -> scores``.

Prompts are turns, responses texts; the scores are a list, an array or a tensor, one number for each response, or a row
of numbers, one for each constraint. A function with an argument ``ended`` is told which responses came to their end.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.scorers.base import DEFAULT_CONSTRAINT
from csrlhf.scorers.kept import KeptScorer
from csrlhf.scorers.rendering import Turns
from csrlhf.scorers.specs import FUNCTION, check_source, code_file, source_fingerprint


class FunctionScorer(KeptScorer):
    """Scores by a function of somebody's own."""

    def __init__(
        self,
        function: str,
        outputs: Sequence[str] | None = None,
        batch_size: int = 64,
        *,
        role: str = "cost",
        key: str = "inputs.cost",
    ) -> None:
        """Import it.

        Args:
            function: ``package.module.name``, or ``FILE.py:name``.
            outputs: the names of its columns; None for those that are asked for.
            batch_size: responses that it is handed at a time.
            role: ``reward`` or ``cost``.
            key: where it is named, for messages.

        Raises:
            UserError: there is no such function, or it does not take prompts and responses.
        """
        check_source(f"{key}.function", function)
        names = outputs or ((role,) if role == "reward" else (DEFAULT_CONSTRAINT,))
        about = {"code": source_fingerprint(f"{key}.function", function), "outputs": list(names)}
        super().__init__(names, function, about, batch_size, key)
        self.function = _imported(function, f"{key}.function={function}")
        parameters = inspect.signature(self.function).parameters
        self._takes_ended = "ended" in parameters
        try:
            inspect.signature(self.function).bind([], [], **({"ended": []} if self._takes_ended else {}))
        except TypeError as error:
            raise UserError(f"{key}.function={function}: must take (prompts, responses): {error}") from error

    def ask(self, prompts: Sequence[Turns], responses: Sequence[str], ended: Sequence[bool]) -> Any:
        """What the function says.

        Raises:
            UserError: it fails.
        """
        handed = {"ended": list(ended)} if self._takes_ended else {}
        try:
            return self.function(list(prompts), list(responses), **handed)
        except UserError:
            raise
        except Exception as error:  # somebody else's code: any error is possible
            raise UserError(f"{self.name}: fails with {error!r} (debug=true shows where)") from error


def _imported(function: str, said: str) -> Callable[..., Any]:
    file = FUNCTION.fullmatch(function)
    try:
        if file:
            module = _module_of(Path(file[1]).expanduser())
            word = file[2]
        else:
            place, _, word = function.rpartition(".")
            module = importlib.import_module(place)
    except Exception as error:  # somebody else's code: any error is possible
        raise UserError(f"{said}: cannot be imported: {error!r} (debug=true shows where)") from error
    found = getattr(module, word, None)
    if not callable(found):
        raise UserError(f"{said}: there is no function {word} in {code_file(function)}")
    return found


def _module_of(path: Path) -> Any:
    """The module of a file, which finds what lies beside it."""
    name = f"csrlhf_scorer_{path.stem}_{artifacts.file_hash(path)[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look for themselves there
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module
