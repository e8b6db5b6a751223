"""What a user sees while a run trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from tqdm import tqdm

Mode = Literal["auto", "on", "off"]


class RunDisplay(Protocol):
    """Shows a run while it trains."""

    def enter(self, folder: Path) -> None:
        """The run holds its folder now."""
        ...

    def of(
        self, label: str, done_steps: int, total_steps: int, epochs: float, mode: Mode
    ) -> AbstractContextManager[None]:
        """Show the training of one run, of which some steps were done before, for as long as the context lasts."""
        ...

    def show_step(self, step: int) -> None:
        """A step was taken."""
        ...

    def show_evaluation(self, row: dict[str, Any], improved: bool) -> None:
        """A row of metrics.jsonl was written."""
        ...


class ProgressDisplay:
    """Shows steps and evaluations of a run on the terminal.

    mode: `auto` draws a bar when standard error is a terminal; evaluations are printed as lines either way.
    """

    def enter(self, folder: Path) -> None:
        """The run holds its folder now: nothing to show yet."""

    @contextmanager
    def of(self, label: str, done_steps: int, total_steps: int, epochs: float, mode: Mode) -> Iterator[None]:
        """Show the training of one run, of which some steps were done before, for as long as the context lasts."""
        self._label, self._epochs = label, epochs
        hidden = not sys.stderr.isatty() if mode == "auto" else mode == "off"
        bar = tqdm(initial=done_steps, total=total_steps, desc=label, unit="step", disable=hidden, leave=False)
        with bar as self._bar:
            yield

    def show_step(self, step: int) -> None:
        """Move the bar to a global step."""
        if not self._bar.disable:
            self._bar.update(step - self._bar.n)

    def show_evaluation(self, row: dict[str, Any], improved: bool) -> None:
        """Print one row of metrics.jsonl as a line."""
        tqdm.write(evaluation_line(self._label, self._epochs, row, improved), file=sys.stdout)
        sys.stdout.flush()


def evaluation_line(label: str, epochs: float, row: dict[str, Any], improved: bool) -> str:
    """A row of metrics.jsonl as a line of text; a star marks the best so far."""
    return (
        f"{label}  epoch {row['epoch']:g}/{epochs:g}"
        f"  train loss {row['train_loss']:.3f} acc {row['train_accuracy']:.1%}"
        f"  val loss {row['val_loss']:.3f} acc {row['val_accuracy']:.1%}{' *' if improved else '  '}"
        f"  {row['images_per_second']:.0f} images/s"
    )
