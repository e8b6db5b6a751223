"""A limit on the seconds that foreign code may take."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# A machine may be busy with other things, and code that only waits uses no processor.
MOST_WALL_SECONDS = 10


class TookTooLong(Exception):
    """The limit has passed."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TookTooLong in what uses the processor for so many seconds, or lasts ten times as long.

    It needs SIGALRM and the main thread; elsewhere there is no limit.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return
    used, started = time.process_time(), time.monotonic()

    def look(_signal: int, _frame: FrameType | None) -> None:
        if time.process_time() - used >= seconds or time.monotonic() - started >= MOST_WALL_SECONDS * seconds:
            raise TookTooLong(f"takes more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, look)
    # Again and again, since foreign code may swallow an exception.
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if remaining:  # somebody else's alarm, such as a test's
            left = max(remaining - (time.monotonic() - started), 0.001)
            signal.setitimer(signal.ITIMER_REAL, left, interval)
