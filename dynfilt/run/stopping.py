"""Signals that ask a run to stop: it finishes its step, writes a checkpoint and ends as interrupted."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dynfilt.wording import INTERRUPTED_BY_USER

# A scheduler's warning before it ends a job may be any of these.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP") if hasattr(signal, name)
)
# EX_TEMPFAIL of sysexits.h: the same command goes on, so a scheduler may queue it again.
TRY_AGAIN = 75


class RunInterrupted(KeyboardInterrupt):
    """A run stopped because a signal asked for it; the same command goes on."""


def _by_nohup(number: int) -> bool:
    """Whether the user has asked that a signal of the terminal's end does nothing."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) == signal.SIG_IGN


class StopSignals:
    """Notes the first signal that asks to stop, so that work can end where nothing is lost; a second SIGINT ends the
    process at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._interrupted = False

    def __call__(self) -> bool:
        """Whether work should stop."""
        return self.received is not None

    def request(self) -> None:
        """Ask to stop as a scheduler's SIGTERM would."""
        self.received = self.received or signal.SIGTERM

    @property
    def exit_code(self) -> int:
        """130 after the user's own SIGINT, else 75, on which a scheduler may queue the command again."""
        return INTERRUPTED_BY_USER if self.received in (None, signal.SIGINT) else TRY_AGAIN

    def check(self) -> None:
        """Raise RunInterrupted when work should stop."""
        if self.received is not None:
            raise RunInterrupted(f"stopped by {self.received.name}")

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the place of the process's handlers; only the main thread can."""
        before = {number: signal.signal(number, self._note) for number in STOP_SIGNALS if not _by_nohup(number)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            print(
                "\nstopping after this step, with a checkpoint; Ctrl-C again stops at once", file=sys.stderr, flush=True
            )
        self.received = self.received or signal.Signals(number)
