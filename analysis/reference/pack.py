"""`python -m analysis archive SOURCE... --out FILE`: finished runs as one archive, itself a SOURCE for every command.

It holds config, status, provenance, metrics, result and predictions of each run, and no weights.
"""

import argparse
from pathlib import Path

from ..reading.archive import write_archive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `archive`."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder with runs at any depth, e.g. docs/runs")
    parser.add_argument("--out", metavar="FILE", required=True, help="the archive to write, e.g. runs.zip")


def run(arguments: argparse.Namespace) -> None:
    """Write the archive, and say what it holds. Raises ValueError as write_archive does."""
    count = write_archive(arguments.sources, arguments.out)
    print(f"{arguments.out}: {count} finished runs, {Path(arguments.out).stat().st_size:,} bytes")
