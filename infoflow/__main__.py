"""python -m infoflow: the command line."""

import sys

from infoflow.cli import main

if __name__ == "__main__":
    sys.exit(main())
