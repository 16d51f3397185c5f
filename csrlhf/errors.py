"""The one exception for what a user can mend, and the one warning; and names for errors of the system that have none.

Raised wherever a value is checked (a key, a file, a line, a checkpoint). The command line prints its
message as a single line and exits with code 1; ``debug=true`` shows the traceback as well.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_SPACE = "No space left on device"
FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space on the disk, or the user's quota is used up."""


class UserError(ValueError):
    """A mistake in the input. The message names the key or file and line, and says what to do."""


class InputWarning(UserWarning):
    """Something in the input that a person may want to mend while the work goes on; shown as ``warning: <message>``."""


@contextmanager
def writing(path: Path, draft: Path | None = None) -> Iterator[None]:
    """Names the file in an error of the system that does not: a full disk shows in a write, which knows no name.

    Args:
        path: what is written.
        draft: where it is written first, a name that nobody knows.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(draft)):
            error.filename = str(path)
        raise
    except Exception as error:
        if NO_SPACE not in str(error):
            raise
        raise OSError(errno.ENOSPC, NO_SPACE, str(path)) from error  # what safetensors says as an error of its own


def system_message(error: OSError) -> str:
    """What the system refused, and what to do about it, in one line."""
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in FULL:
        where = f" ({error.filename})" if error.filename else ""
        return f"no space left on the disk{where}; free some or set artifacts="
    if error.errno == errno.EROFS:
        return f"{place}the disk can only be read; set artifacts= to a folder that can be written"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{place}there is no such file"
    if isinstance(error, PermissionError) and error.filename:
        return f"{place}no permission to read or write it; set artifacts= to a folder of yours"
    return str(error)
