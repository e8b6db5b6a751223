"""A compiled model that trains otherwise than the eager one is refused before it trains."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.dropout import Dropout
from dynfilt.train.compile_check import require_same_gradients

IMAGES, LABELS = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


class Net(nn.Module):
    def __init__(self, dropout: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.dropout, self.fc = dropout, nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(x)))
        return self.fc(self.dropout(x.mean((2, 3))))


def by_halves(net: Net, x: Tensor) -> Tensor:
    """The same function with its sums in another order: each half of the channels by a convolution of its own."""
    parts = [F.conv2d(x[:, c], net.conv.weight[:, c], padding=1) for c in (slice(1), slice(1, 3))]
    y = F.relu(net.norm(parts[0] + parts[1] + net.conv.bias[:, None, None]))
    return net.fc(net.dropout(y.mean((2, 3))))


def check(model: nn.Module, compiled: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32) -> None:
    autocast = lambda: torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)  # noqa: E731
    precision = str(dtype).removeprefix("torch.")
    require_same_gradients(model, compiled, IMAGES, LABELS, autocast, torch.contiguous_format, precision)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [Dropout(0.3), nn.Dropout(0.3)])
def test_the_same_computation_passes_and_the_model_is_left_as_it_was(dropout: nn.Module, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = Net(dropout)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    check(net, lambda x: by_halves(net, x), dtype)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and net.dropout.p == 0.3
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fault", ["cut", "shifted", "nan"])
def test_a_wrong_convolution_is_refused_by_name(fault: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = Net(Dropout(0.0))

    def wrong(x: Tensor) -> Tensor:
        weight = net.conv.weight
        if fault == "cut":
            weight = torch.where((torch.arange(8) < 3).view(8, 1, 1, 1), weight.detach(), weight)
        if fault == "shifted":
            weight = weight.roll(1, 3)
        y = net.fc(F.relu(net.norm(F.conv2d(x, weight, net.conv.bias, padding=1))).mean((2, 3)))
        return y * float("nan") if fault == "nan" else y

    with pytest.raises(ValueError, match=r"trainer\.compile=true: the gradient of conv\.weight is .*compile=false"):
        check(net, wrong, dtype)


def test_a_relu_that_rounding_switches_is_no_fault() -> None:
    """float32 gives 1 + 1e-8 - 1 as 0 or as 1e-8 by the order of its terms, so that a ReLU's gradient is 0 or 1."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.ones(3, 8, 8))
            self.bias.data[0, 0, 0] = 1e-8
            self.fc = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.relu(x + self.bias - x).mean((2, 3)))

    torch.manual_seed(0)
    net, ones = Sum(), torch.ones_like(IMAGES)
    float32 = lambda: torch.autocast("cpu", enabled=False)  # noqa: E731
    exact = lambda x: net.fc(F.relu(x - x + net.bias).mean((2, 3)))  # noqa: E731
    require_same_gradients(net, exact, ones, LABELS, float32, torch.contiguous_format, "float32")
    with pytest.raises(ValueError, match=r"the gradient of bias is .* off"):
        require_same_gradients(net, lambda x: 2 * exact(x), ones, LABELS, float32, torch.contiguous_format, "float32")


def test_a_model_that_does_not_run_in_float64_is_told_the_way_out() -> None:
    class Single(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    net = Single(Dropout(0.0))
    with pytest.raises(ValueError, match=r"does not run in float64 \(.*\): choose trainer\.compile=false"):
        check(net, net)


def test_dropout_is_that_of_torch_in_mean_and_scale() -> None:
    torch.manual_seed(0)
    y = Dropout(0.25)(torch.ones(200_000))
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(y.mean()) == pytest.approx(1, abs=0.01)
    assert torch.equal(Dropout(0.25).eval()(torch.ones(5)), torch.ones(5))
    with pytest.raises(ValueError, match=r"dropout=1\.5: must be at least 0 and less than 1"):
        Dropout(1.5)
