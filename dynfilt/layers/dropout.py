"""Dropout whose mask comes from torch.rand, so that a compiled model can drop what the eager one drops."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each feature with probability `p` in training, and scale the others by 1 / (1 - p).

    x: any shape -> the same. Srivastava et al., JMLR 2014. Under torch.compile with
    `torch._inductor.config.fallback_random` the mask is the eager one; that of nn.Dropout is not.
    Raises ValueError unless 0 <= p < 1.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout={p}: must be at least 0 and less than 1")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x with features dropped in training, x itself in evaluation."""
        if not self.training or self.p == 0:
            return x
        kept = torch.rand(x.shape, device=x.device) >= self.p
        return x * kept / (1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
