"""`python -m analysis runs|curves`: one tidy row a run, or a row an evaluation, as CSV, JSON or Parquet."""

import argparse
import sys
import warnings
from pathlib import Path

import pandas as pd

from ..reading.sources import add_sources
from .frames import curves_frame, runs_frame

FORMATS = ("csv", "json", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `runs` and `curves`."""
    add_sources(parser)
    parser.add_argument("--format", choices=FORMATS, default="csv", help="what is written (default: csv)")
    parser.add_argument("--metric", metavar="M", help="of runs: also a metric that is computed from the predictions")
    parser.add_argument("--out", metavar="FILE", help="the file to write; default: standard output, not for parquet")


def run(arguments: argparse.Namespace) -> None:
    """Write the frame. Raises ValueError for Parquet without a file, and for a file that cannot be written."""
    if arguments.format == "parquet" and arguments.out is None:
        raise ValueError("--format parquet is for a file: --out FILE")
    if arguments.metric is not None and arguments.command != "runs":
        raise ValueError("--metric is a column of runs; curves hold what was logged")
    with warnings.catch_warnings(record=True, action="always") as caught:
        frame = (
            runs_frame(*arguments.sources, metric=arguments.metric)
            if arguments.command == "runs"
            else curves_frame(*arguments.sources)
        )
    for each in caught:
        print(f"warning: {each.message}", file=sys.stderr)
    try:
        _write(frame, arguments.format, arguments.out)
    except OSError as error:
        raise ValueError(f"{arguments.out} cannot be written: {error.strerror or error}") from error


def _write(frame: pd.DataFrame, form: str, out: str | None) -> None:
    if form == "parquet":
        frame.to_parquet(Path(str(out)), index=False)
        return
    text = frame.to_csv(index=False) if form == "csv" else frame.to_json(orient="records", indent=1) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        Path(out).write_text(text, encoding="utf-8")
