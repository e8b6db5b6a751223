"""The command line of the benchmarks: `python -m benchmarks layers|step|startup`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import layers, startup, step
from benchmarks.report import write_result

COMMANDS = {"layers": layers, "step": step, "startup": startup}


def main() -> int:
    """Run one benchmark, print its table, write its JSON; exit code 0, or 2 after an error of the user's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
        command.add_argument("--out", type=Path, help="also write the figures to this JSON file")
        module.add_arguments(command)
    arguments = parser.parse_args()
    try:
        result = COMMANDS[arguments.command].run(arguments)
        print(result.table)
        if arguments.out:
            write_result(result, arguments.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
