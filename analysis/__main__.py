"""The command line of analysis: `python -m analysis COMMAND SOURCE...`; each command is one module."""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stderr
from importlib import import_module
from io import TextIOWrapper

from dynfilt.installation import version
from dynfilt.tracking.mirror import end_service
from dynfilt.wording import OneLineParser, printable, until_ctrl_c

USAGE_ERROR = 2
PROGRAM = "python -m analysis"
# Command -> its module, which has add_arguments(parser) and run(args), and what `--help` says of it. Only the chosen
# command's module is imported.
COMMANDS = {
    "table": (".tables.command", "compare the variants of one or more studies"),
    "diff": (".tables.diff", "what differs between two runs, variants or studies"),
    "tuned": (".comparing.tuned_sweep", "the sweep again, each arm with the recipe that its tuning study chose"),
    "runs": (".frames.command", "one tidy row a run, as CSV, JSON or Parquet"),
    "curves": (".frames.command", "one tidy row an evaluation during training, as CSV, JSON or Parquet"),
    "report": (".report.command", "one HTML page and Markdown: answer, tables, curves, pictures, configs"),
    "results": (".report.results", "every study with its claims and verdicts, one Markdown page"),
    "figures": (".figures.command", "curves, accuracy against cost, paired differences, before/after"),
    "kernels": (".filters.kernels", "picture the 3x3 kernels that a lab network gives its images"),
    "responses": (".filters.responses", "picture the response maps of a label-guided network"),
    "attention": (".filters.attention", "describe what dynamic layers decide; check whether a network needs it"),
    "filters": (".filters.first_layer", "picture the first filters and what they and the last ones answer"),
    "architecture": (".filters.architecture", "print the layers of a network with parameters and FLOPs"),
    "archive": (".reference.pack", "finished runs as one file, itself a SOURCE"),
    "reproduce": (".reference.reproduce", "do a run of a source again, drawn at random; does it come out as recorded?"),
    "sync": (".publishing.sync", "upload offline W&B runs, one by one"),
    "dashboard": (".publishing.dashboard", "save a W&B workspace that compares the variants of a project"),
}


def parser(chosen: str | None, program: str) -> argparse.ArgumentParser:
    """All commands, and the arguments of the chosen one."""
    top = OneLineParser(prog=program, description="Runs become tables with honest statistics over seeds.")
    top.add_argument("--version", action="version", version=f"dynfilt {version()}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name == chosen:
            implementation = import_module(module, __package__)
            command.description = (implementation.__doc__ or "").replace(PROGRAM, program)
            implementation.add_arguments(command)
            command.add_argument("--quiet", action="store_true", help="nothing on standard error but errors")
            command.set_defaults(run=implementation.run)
    return top


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run one command; return its exit code, or 2 after an error of the user's, which is printed in one line.

    `program` is what the help calls the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        chosen = parser(next((word for word in words if not word.startswith("-")), None), program).parse_args(words)
        chosen.command_line = shlex.join([*program.split(), *words])
        if getattr(chosen, "wandb", False):
            # Filters stand below publishing, so what logs their pictures is handed down to them.
            chosen.publisher = import_module(".publishing.log_pictures", __package__)
        with redirect_stderr(io.StringIO()) if chosen.quiet else nullcontext():
            return chosen.run(chosen) or 0
    except ValueError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; at its exit Python would flush once more, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return USAGE_ERROR
    finally:
        end_service()
    return 0


if __name__ == "__main__":
    sys.exit(until_ctrl_c(main))
