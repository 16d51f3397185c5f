"""``python -m csrlhf.chat``: talk to a policy in the terminal; the program is :mod:`csrlhf.apps.chat`."""

import sys

from csrlhf.apps.chat import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
