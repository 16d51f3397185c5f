"""``python -m csrlhf.memory``: what each stage will hold in memory; the program is :mod:`csrlhf.apps.memory`."""

import sys

from csrlhf.apps.memory import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
