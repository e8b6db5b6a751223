"""Errors in the words of one line: those of libraries, and those of a command line."""

import argparse
from typing import NoReturn


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line and leave printing to the caller."""

    def error(self, message: str) -> NoReturn:
        """Raises ValueError with argparse's message."""
        raise ValueError(f"{message} (`{self.prog} --help` explains)")


def one_line(error: BaseException, most: int = 200) -> str:
    """The message of an error on one line, at most so many characters; its type where it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__
