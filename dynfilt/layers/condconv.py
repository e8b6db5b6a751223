"""Conditionally parameterised convolution (CondConv): K experts, weighted for each image by independent sigmoids.

Yang et al., "CondConv: Conditionally Parameterized Convolutions for Efficient Inference", NeurIPS 2019, arXiv
1904.04971. The paper's EfficientNets share one routing among the layers of a block; here each layer has its own.
"""

from __future__ import annotations

from torch import Tensor, nn

from dynfilt.layers.arguments import require_count
from dynfilt.layers.bank import BankConv2d
from dynfilt.layers.geometry import Padding, Size
from dynfilt.layers.initialisation import InitialScale
from dynfilt.layers.squeeze import at_least_float32, full_precision, global_average, linear_dtype


class CondConv2d(BankConv2d):
    """W(x) = sum_k a_k(x) W_k, b(x) = sum_k a_k(x) b_k, a = sigmoid(Linear(globally averaged features)).

    x: (B, C, H, W) -> (B, O, H', W'). The arguments up to `bias` are those of nn.Conv2d; then the number of experts K
    and how large they start. All a_k start near 0.5, so that `published`, where each expert is drawn as one kernel,
    has sqrt(K) / 2 of the static twin's standard deviation: the same at K = 4, sqrt(2) at the paper's K = 8.
    `corrected` has 1 for every K. Parameters `weight` (K, O, C/groups, kh, kw) and `bias` (K, O) or None.
    Raises ValueError for num_kernels below 1, an unknown initial_scale and as DynamicConv2d does.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        num_kernels: int = 8,
        initial_scale: InitialScale = "published",
    ) -> None:
        require_count("num_kernels", num_kernels, "kernel")
        geometry = (kernel_size, stride, padding, dilation, groups)
        super().__init__(in_channels, out_channels, *geometry, bias, num_kernels, 0.5, initial_scale)
        self.routing = nn.Linear(in_channels, num_kernels)
        # As a dense layer of the authors' framework starts; a random bias would favour some experts from the start.
        nn.init.xavier_uniform_(self.routing.weight)
        nn.init.zeros_(self.routing.bias)
        self.reset_parameters()

    def choice(self, x: Tensor) -> Tensor:
        """Return the experts' weights a (B, K), float32 under autocast, for images x (B, C, H, W)."""
        with full_precision(x):
            pooled = global_average(x, self.in_channels)
            return at_least_float32(self.routing(pooled.to(linear_dtype(self.routing)))).sigmoid()
