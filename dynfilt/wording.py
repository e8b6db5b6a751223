"""Errors of libraries in the words of one line."""


def one_line(error: BaseException, most: int = 200) -> str:
    """The message of an error on one line, at most so many characters; its type where it has none."""
    return " ".join(str(error).split())[:most] or type(error).__name__
