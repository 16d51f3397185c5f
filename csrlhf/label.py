"""``python -m csrlhf.label``: a person judges answers; the program is :mod:`csrlhf.apps.label`."""

import sys

from csrlhf.apps.label import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
