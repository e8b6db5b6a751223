"""The command line of a checkout: `python run.py`, the same as the installed command `dynfilt run`."""

import sys

from dynfilt.wording import until_ctrl_c


def main() -> int:
    """Run the command in sys.argv; its imports take seconds, in which Ctrl-C may come as well."""
    from dynfilt.command_line import main

    return main()


if __name__ == "__main__":
    sys.exit(until_ctrl_c(main))
