"""The one exception for what a user can mend.

Raised wherever a value is checked (a key, a file, a line, a checkpoint). The command line prints its
message as a single line and exits with code 1; ``debug=true`` shows the traceback as well.
"""


class UserError(ValueError):
    """A mistake in the input. The message names the key or file and line, and says what to do."""
