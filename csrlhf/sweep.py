"""``python -m csrlhf.sweep``: a sweep file on this machine; the program is :mod:`csrlhf.apps.sweep`."""

import sys

from csrlhf.apps.sweep import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
