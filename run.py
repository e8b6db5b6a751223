"""The command line of a checkout: `python run.py`, the same as the installed command `dynfilt run`."""

import sys

from dynfilt.command_line import main

if __name__ == "__main__":
    sys.exit(main())
