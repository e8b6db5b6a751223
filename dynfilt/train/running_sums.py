"""Loss and hits of the steps since the last evaluation, without waiting for the device in a step."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
from torch import Tensor


class RunningSums:
    """Sums over images that grow step by step; `add_up` brings them up to date, and only it waits for the device.

    `loss` and `correct` are sums over `images`; `steps_since_bad` counts the steps from the first loss on that was
    not finite.
    """

    def __init__(self) -> None:
        self.loss = 0.0
        self.correct = 0
        self.images = 0
        self.steps_since_bad = 0
        self._unread: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Take a step's mean loss, scores (B, classes) and labels (B,); the first two may be overwritten later."""
        self._unread.append((loss.clone(), scores.clone(), labels))

    def add_up(self) -> None:
        """Add up, in the order of the steps, what was taken since the last call."""
        if not self._unread:
            return
        losses, scores, labels = zip(*self._unread, strict=True)
        self._unread = []
        self.correct += int((torch.cat(scores).argmax(1) == torch.cat(labels)).sum())
        for loss, batch in zip(torch.stack(losses).tolist(), labels, strict=True):
            self.loss += loss * len(batch)
            self.images += len(batch)
            self.steps_since_bad += not math.isfinite(self.loss)

    def state_dict(self) -> dict[str, Any]:
        """The sums, up to date."""
        self.add_up()
        return {"loss": self.loss, "correct": self.correct, "images": self.images}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Go on from a `state_dict()`."""
        sums = cls()
        sums.loss, sums.correct, sums.images = float(state["loss"]), int(state["correct"]), state["images"]
        return sums
