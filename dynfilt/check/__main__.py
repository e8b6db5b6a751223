"""`python -m dynfilt.check package.module:Layer`: one line a property, exit code 0 when all hold."""

from __future__ import annotations

import argparse
import ast
import sys
from typing import Any

from dynfilt.check.layer import IMAGE_SHAPE, PROPERTIES, check_layer
from dynfilt.check.subject import locate_layer
from dynfilt.wording import until_ctrl_c


def main(arguments: list[str] | None = None) -> int:
    """Check the layer that the command line names: 0 when all holds, 1 when not, 2 for a wrong command."""
    options = _parser().parse_args(arguments)
    try:
        layer = locate_layer(options.layer)
        given = dict(_argument(text) for text in options.init)
        report = check_layer(layer, _image_shape(options.input), tuple(options.only), tuple(options.allow), **given)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report.to_json() if options.json else report)
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dynfilt.check", description=__doc__)
    parser.add_argument("layer", help="package.module:Layer, an nn.Module with the interface of nn.Conv2d")
    parser.add_argument(
        "--init", nargs="+", default=[], metavar="KEY=VALUE", help="arguments of the layer, as Python writes them"
    )
    shape = ",".join(map(str, IMAGE_SHAPE))
    parser.add_argument("--input", default=shape, metavar="C,H,W", help=f"the images' shape (default: {shape})")
    known = ", ".join(PROPERTIES)
    parser.add_argument("--only", nargs="+", default=list(PROPERTIES), metavar="PROPERTY", help=f"of: {known}")
    parser.add_argument("--allow", nargs="+", default=[], metavar="PROPERTY", help="report it, but do not fail for it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _argument(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"--init {text}: must be KEY=VALUE, e.g. num_kernels=4")
    words = {"true": True, "false": False, "null": None}
    try:
        return name, words[value] if value in words else ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _image_shape(text: str) -> tuple[int, int, int]:
    try:
        channels, height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--input {text}: must be C,H,W, e.g. 64,8,8") from None
    if min(channels, height, width) < 1:
        raise ValueError(f"--input {text}: all three must be at least 1")
    return channels, height, width


if __name__ == "__main__":
    sys.exit(until_ctrl_c(main))
