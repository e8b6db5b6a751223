"""The command line of analysis: `python -m analysis table SOURCE... [--baseline V] [--format md|tex|csv]`."""

import argparse
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from analysis.table import FORMATS, table

USAGE_ERROR = 2


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line and leave printing to the caller."""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError with argparse's message."""
        raise ValueError(f"{message} (`{self.prog} --help` explains)")


def parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    top = OneLineParser(prog="python -m analysis", description="Runs become tables with honest statistics over seeds.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser(
        "table",
        help="compare the variants of one or more studies",
        description="One row a variant: test accuracy over seeds, paired difference to the baseline, cost.",
    )
    command.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="a folder with runs at any depth, e.g. outputs/lab_3x3"
    )
    command.add_argument(
        "--baseline", metavar="V", help="variant to compare with; default: the first one named static*"
    )
    command.add_argument("--format", choices=FORMATS, default="md", help="what is printed (default: md)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; exit code 0, or 2 after an error of the user's, said in one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    try:
        chosen = parser().parse_args(arguments)
        print_table(chosen.sources, chosen.baseline, chosen.format)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; at its exit Python would flush once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def print_table(sources: Sequence[str], baseline: str | None, form: str) -> None:
    """Print the table to standard output and what goes beside it to standard error."""
    printed = table(sources, baseline, form)
    print(printed.text, end="", flush=True)
    for line in printed.beside:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
