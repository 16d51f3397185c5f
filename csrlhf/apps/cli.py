"""The edge between a person and the program: errors that they can fix are reported in one line, exit code 1.

``error: <key or file>: <what is wrong>; <what to do>`` on stderr, without a traceback (``debug=true`` shows
it as well). An exception that no input explains is a bug and keeps its traceback. Ctrl-C ends with 130.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from csrlhf.config import overrides
from csrlhf.errors import InputWarning, UserError, system_message
from csrlhf.runs import processes as launch

PYTHON_FORMAT = warnings.formatwarning
INTERRUPTED = 130
"""Exit code of a program stopped by Ctrl-C: 128 + SIGINT."""

ERROR = "error: "
"""What the line on stderr begins with that says what is wrong."""


def one_line_errors(task: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates the function below ``@hydra.main``: checks the overrides' types, then runs it.

    Errors are reported here and leave as SystemExit, which Hydra passes on untouched; any other
    exception it would announce with a line of its own. In a process of a launcher's (SLURM, Ray) the report stands in
    the run's log; the error travels back to the program that has started the runs, and is told there.
    """

    @functools.wraps(task)
    def wrapped(cfg: Any) -> Any:
        warnings.formatwarning = format_warning
        try:
            overrides.check_types(cfg)
            overrides.check_added(cfg)
            return task(cfg)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
            code = report(error)
            if isinstance(error, Exception) and _started_by_a_launcher():
                raise UserError(one_line(error) or f"{error!r}; the run's log has the traceback") from None
            sys.exit(code)

    return wrapped


def _started_by_a_launcher() -> bool:
    """Whether this is one of the runs of ``-m`` in a process, or on a machine, of its own."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return "basic_launcher" not in HydraConfig.get().launcher._target_


def format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Ours as one line for the user; others as Python shows them, with the place in the code."""
    if issubclass(category, InputWarning):
        return f"warning: {' '.join(str(message).split())}\n"
    return PYTHON_FORMAT(message, category, filename, lineno, line)


def call(main: Callable[[], Any]) -> int:
    """Runs the Hydra main function and returns the exit code."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # composition errors are raised to us instead of printed
    try:
        overrides.refuse_options(sys.argv[1:])
        sys.argv[1:] = overrides.from_nothing(sys.argv[1:])
        main()
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # reported, none is swallowed
        return report(error)
    return 0


def report(error: BaseException) -> int:
    """Prints the error for the user and returns the exit code."""
    code = getattr(error, "exit_code", None)
    if code is not None:  # a pipeline stage, which has reported itself
        return code
    rank = launch.process_rank()
    if isinstance(error, KeyboardInterrupt):
        if rank == 0:
            print(f"\n{error}" if str(error) else "\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    if rank and launch.reported_by_first():
        return 1
    message = one_line(error)
    if rank and message is not None:
        message = f"process {rank}: {message}"
    if message is None or "debug=true" in sys.argv:
        traceback.print_exception(error)
    if message is not None:
        print(f"{ERROR}{message}", file=sys.stderr)
    return 1


def one_line(error: BaseException, words: Sequence[str] | None = None) -> str | None:
    """The message for the user, or None where no input explains the error.

    Args:
        error: what was raised.
        words: all overrides; None for those of the command line.
    """
    message = _message(error, words)
    return None if message is None else " ".join(message.split())


def _message(error: BaseException, words: Sequence[str] | None) -> str | None:
    hint = " (debug=true shows where)"
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, InstantiationException):
        return _instantiation(error)
    if isinstance(error, MissingConfigException):
        return overrides.unknown_choice(error.missing_cfg_file, error.options) or str(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read the override '{error.override}'; write key=value (quote values with special characters)"
    if isinstance(error, ConfigCompositionException):
        found = re.search(r"Could not override '([^']*)'", str(error))
        key = getattr(error.__cause__, "full_key", None) or (
            found and found.group(1)
        )  # the inner one of ppo={cilp:0.1}
        return overrides.unknown_key(key, words) if found and key else str(error)
    if isinstance(error, OmegaConfBaseException):
        if isinstance(error.__cause__, UserError):
            return str(error.__cause__)
        key = getattr(error, "full_key", None)
        return f"{key}: {str(error).splitlines()[0]}" if key else str(error).splitlines()[0]
    if isinstance(error, OSError):
        return system_message(error)
    if isinstance(error, HydraException):
        return str(error)
    # Lightning's class is named, not imported: importing Lightning takes seconds.
    if isinstance(error, ValueError) or type(error).__name__ == "MisconfigurationException":
        return f"{error}{hint}"
    return None


def _instantiation(error: InstantiationException) -> str | None:
    """A constructor refused its arguments: the innermost cause, with the config key of its object."""
    cause: BaseException = error
    while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
        cause = cause.__cause__
    key = re.findall(r"full_key: (\S+)", str(error))
    if isinstance(cause, UserError):  # an object that stands below a name of the user's does not know that name
        return str(cause).replace("<name>", key[0].rsplit(".", 1)[-1] if key else "<name>")
    if isinstance(cause, OSError):
        return system_message(cause)
    return f"{key[0] if key else 'config'}: {cause} (debug=true shows where)"
