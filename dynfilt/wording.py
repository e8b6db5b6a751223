"""Errors in the words of one line: those of libraries, those of a command line, and Ctrl-C."""

import argparse
import re
import sys
from collections.abc import Callable
from typing import NoReturn

INTERRUPTED_BY_USER = 130  # as shells have it

# What a terminal obeys or turns round, and halves of characters, which no file takes.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line and leave printing to the caller."""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError with argparse's message."""
        raise ValueError(f"{message} (`{self.prog} --help` explains)")


def printable(text: str) -> str:
    """The text with a mark in place of what a terminal would do otherwise than print."""
    return CONTROL.sub("\ufffd", text)


def one_line(error: BaseException, most: int = 200) -> str:
    """The message of an error on one line, at most so many characters; its type where it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def until_ctrl_c(command: Callable[[], int]) -> int:
    """The exit code of a command, or, where Ctrl-C ends it, 130 after one word."""
    try:
        return command()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED_BY_USER
