"""Networks whose processes end in the ways that a benchmark has to survive."""

import os
import signal
import time

import torch
from torch import Tensor, nn


class FragileNet(nn.Module):
    """Scores of a linear layer; `fault` is what happens in training: none, raise, die, hang."""

    def __init__(self, num_classes: int, fault: str) -> None:
        super().__init__()
        self.fc = nn.Linear(3, num_classes)
        self.fault = fault

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, H, W) -> (B, num_classes)."""
        if self.training and self.fault == "raise":
            raise torch.OutOfMemoryError("no\nmemory")
        if self.training and self.fault == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.training and self.fault == "hang":
            time.sleep(3600)
        return self.fc(images.mean((2, 3)))
