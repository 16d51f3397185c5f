"""``python -m csrlhf.refusals``: train a judge of refusals; the program is :mod:`csrlhf.apps.refusals`."""

import sys

from csrlhf.apps.refusals import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
