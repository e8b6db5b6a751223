"""What a user sees while a run trains: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, Literal

from tqdm import tqdm


class ProgressDisplay:
    """Shows steps and evaluations of one run. Use as a context manager.

    mode: `auto` draws a bar when standard error is a terminal; evaluations are printed as lines either way.
    """

    def __init__(self, label: str, total_steps: int, epochs: float, mode: Literal["auto", "on", "off"]) -> None:
        self.label = label
        self.epochs = epochs
        hidden = not sys.stderr.isatty() if mode == "auto" else mode == "off"
        self.bar = tqdm(total=total_steps, desc=label, unit="step", disable=hidden, leave=False)

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show_step(self, step: int) -> None:
        """Move the bar to a global step."""
        if not self.bar.disable:
            self.bar.update(step - self.bar.n)

    def show_evaluation(self, row: dict[str, Any], improved: bool) -> None:
        """Print one row of metrics.jsonl as a line."""
        line = (
            f"{self.label}  epoch {row['epoch']:g}/{self.epochs:g}"
            f"  train loss {row['train_loss']:.3f} acc {row['train_accuracy']:.1%}"
            f"  val loss {row['val_loss']:.3f} acc {row['val_accuracy']:.1%}{' *' if improved else '  '}"
            f"  {row['images_per_second']:.0f} images/s"
        )
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
