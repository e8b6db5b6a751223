"""Keys and passwords stay out of what is written down of a command."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SECRET, SHORTEST_SECRET = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE), 8


def without_secrets(word: str) -> str:
    """A word of the command without the values of environment variables whose names say that they are secret."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= SHORTEST_SECRET:
            word = word.replace(value, f"${name}")
    return word


@contextmanager
def secrets_hidden() -> Iterator[None]:
    """The command line without them, for a library that notes it by itself."""
    before = sys.argv
    sys.argv = list(map(without_secrets, before))
    try:
        yield
    finally:
        sys.argv = before
