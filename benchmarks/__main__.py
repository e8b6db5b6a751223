"""The command line of the benchmarks: `python -m benchmarks COMMAND`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.commands import compare, data, gpu, layers, page, pool, replicas, startup, step, suite
from benchmarks.measuring.timing import Deadline
from benchmarks.reporting.report import default_path, require_writable, write_result
from benchmarks.reporting.tables import render
from dynfilt.wording import until_ctrl_c

BENCHMARKS = {
    **{"layers": layers, "step": step, "data": data, "startup": startup},
    **{"pool": pool, "replicas": replicas, "page": page},
}


def parser() -> argparse.ArgumentParser:
    """Options of all commands."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, module in {**BENCHMARKS, "all": suite, "gpu": gpu}.items():
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N (default: auto)")
        command.add_argument("--commit", help="written to the JSON where the files have no git history")
        module.add_arguments(command)
        if module not in (suite, gpu):
            command.add_argument(
                "--out", type=Path, help="JSON file (default: benchmarks/results/<device>_<name>.json)"
            )
    command = commands.add_parser("compare", help=compare.__doc__, description=compare.__doc__)
    compare.add_arguments(command)
    return top


def main(words: list[str] | None = None) -> int:
    """Run one command; exit code 0, 1 when `compare` finds something slower, 2 after an error of the user's."""
    arguments = parser().parse_args(words)
    try:
        if arguments.command == "compare":
            return compare.run(arguments)
        if arguments.command == "all":
            return suite.run(arguments, parser())
        if arguments.command == "gpu":
            return gpu.run(arguments, parser())
        if arguments.out:
            require_writable(arguments.out)
        result = BENCHMARKS[arguments.command].run(arguments, Deadline(None))
        path = arguments.out or default_path(result.name, result.device)
        print(render(result))
        write_result(result, path, arguments.commit)
        print(f"\nwritten to {path}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(until_ctrl_c(main))
