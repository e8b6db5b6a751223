"""FDConv against a float64 loop over images, frequencies and bands, written with whole Fourier transforms."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.layers.bands import BandModulatedConv2d, BandModulation
from dynfilt.layers.fdconv import FDConv2d
from dynfilt.layers.initialisation import draw_kernels
from tests.layers.drop_ins import GEOMETRIES, assert_equals_the_loop, images, lively


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def two_sigmoid(logits: Tensor) -> Tensor:
    return 2 / (1 + (-logits).exp())


def radius(row: int, column: int, shape: tuple[int, int]) -> float:
    folded = [min(index, size - index) / size for index, size in zip((row, column), shape, strict=True)]
    return folded[0] ** 2 + folded[1] ** 2


def groups_of(shape: tuple[int, int], count: int) -> dict[tuple[int, int], int]:
    """Frequencies of the half plane in the order of their radius, cut into `count` parts."""
    frequencies = [(r, c) for r in range(shape[0]) for c in range(shape[1] // 2 + 1)]
    ordered = sorted(frequencies, key=lambda f: round(radius(*f, shape), 12))
    return {frequency: rank * count // len(ordered) for rank, frequency in enumerate(ordered)}


def weighed_kernel(layer: Any, gates: Tensor) -> Tensor:
    """Each frequency of the half plane gives its wave to the matrix, weighed by its group's gate."""
    rows, columns = layer.matrix_shape
    groups = groups_of((rows, columns), layer.frequency_groups)
    i, j = torch.meshgrid(torch.arange(rows).double(), torch.arange(columns).double(), indexing="ij")
    angles = torch.stack([2 * math.pi * (r * i / rows + c * j / columns) for r, c in groups])
    stands_for = torch.tensor(
        [1 if c == 0 or 2 * c == columns else 2 * math.sqrt(0.5) for _, c in groups], dtype=torch.float64
    )
    real, imaginary = (torch.stack([layer.spectrum[r, c, part] for r, c in groups]) for part in (0, 1))
    weights = gates[list(groups.values())] * stands_for / math.sqrt(rows * columns)
    matrix = torch.einsum("f,fij->ij", weights * real, angles.cos())
    matrix = matrix - torch.einsum("f,fij->ij", weights * imaginary, angles.sin())
    outputs, inputs, height, width = layer.kernel_shape
    return matrix.view(outputs, height, inputs, width).transpose(1, 2)


def banded(layer: Any, image: Tensor) -> Tensor:
    """Bands cut from the image's whole Fourier transform, each weighed at each position."""
    height, width = image.shape[1:]
    logits = F.conv2d(image[None], layer.bands.gate.weight, layer.bands.gate.bias, padding=1)[0]
    largest = torch.maximum(
        torch.fft.fftfreq(height, dtype=torch.float64).abs()[:, None],
        torch.fft.fftfreq(width, dtype=torch.float64).abs(),
    )
    above, y = image, 0
    for band, limit in enumerate((1 / 4, 1 / 8, 1 / 16)):
        below = torch.fft.ifft2(torch.fft.fft2(image) * (largest <= limit + 1e-9)).real
        y = y + two_sigmoid(logits[band]) * (above - below)
        above = below
    return y + above


def image_output(layer: Any, image: Tensor) -> Tensor:
    pooled = image.flatten(1).mean(1)
    norm, star = layer.squeeze.norm, layer.squeeze.activation
    reduced = layer.squeeze.reduce.weight @ pooled
    normalised = (reduced - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    hidden = star.scale * normalised.clamp(min=0) ** 2 + star.bias
    gates = {name: two_sigmoid(head.weight @ hidden + head.bias) for name, head in layer.heads.items()}

    kernel = weighed_kernel(layer, gates.get("frequency_gate", torch.ones(1)))
    if "tap_gate" in gates:
        kernel = kernel * gates["tap_gate"].view(layer.kernel_size)
    local = layer.local_norm
    centred = pooled - pooled.mean()
    channels = centred / (centred.square().mean() + local.eps).sqrt() * local.weight + local.bias
    reach = layer.local_gate.weight.shape[2] // 2
    rows = []
    for o in range(layer.out_channels):
        group = o // (layer.out_channels // layer.groups)
        for c in range(layer.kernel_shape[1]):
            channel = group * layer.kernel_shape[1] + c
            window = [
                channels[i] if 0 <= i < len(channels) else 0.0 for i in range(channel - reach, channel + reach + 1)
            ]
            taps = layer.kernel_size[0] * layer.kernel_size[1]
            weights = layer.local_gate.weight[o * taps : (o + 1) * taps, 0]
            rows.append(sum(weights[:, i] * value for i, value in enumerate(window)))
    kernel = kernel * two_sigmoid(torch.stack(rows)).view(layer.kernel_shape)

    x = image if layer.bands is None else banded(layer, image)
    x = torch.stack([gates["input_gate"][c] * x[c] for c in range(len(x))])
    y = F.conv2d(x[None], kernel, None, layer.stride, layer.padding, layer.dilation, layer.groups)[0]
    if "output_gate" in gates:
        y = torch.stack([gates["output_gate"][o] * y[o] for o in range(len(y))])
    return y if layer.bias is None else y + layer.bias[:, None, None]


@pytest.mark.slow
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    "options",
    [
        {"frequency_groups": 3, "band_modulation": False},
        {"frequency_groups": 2, "band_modulation": True},
        {"frequency_groups": 1, "band_modulation": False},
        {"frequency_groups": 5, "band_modulation": False},
    ],
    ids=["a transform an image", "bands", "one group", "uneven groups"],
)
def test_outputs_and_all_gradients_equal_the_loop(geometry: str, options: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    if "groups" not in arguments:
        arguments |= {"in_channels": 5, "out_channels": 3}
    layer = lively(FDConv2d(**arguments, **options))
    # More images than groups, so that the transforms of groups are tried; fewer in the last case.
    batch = 4 if options["frequency_groups"] < 5 else 2
    assert_equals_the_loop(layer, lambda image: image_output(layer, image), images(batch, layer.in_channels))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_static_kernel_after_the_bands_equals_the_loop(geometry: str) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    layer = lively(BandModulatedConv2d(**arguments))

    def image_output(image: Tensor) -> Tensor:
        x = image if layer.kernel_size == (1, 1) else banded(layer, image)
        moves = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return F.conv2d(x[None], layer.weight, layer.bias, *moves)[0]

    assert_equals_the_loop(layer, image_output, images(4, 8))
    static = BandModulatedConv2d(8, 12, 1)
    assert static.choice_names == () and len(list(static.parameters())) == 2


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("bands", [True, False])
def test_the_control_does_to_all_images_what_the_layer_does_to_a_black_one(geometry: str, bands: bool) -> None:
    arguments: dict[str, Any] = {"in_channels": 8, "out_channels": 12, "kernel_size": 3, **GEOMETRIES[geometry]}
    arguments |= {"frequency_groups": 3, "band_modulation": bands}
    layer, control = (lively(FDConv2d(**arguments, control=control)) for control in ("none", "constant"))
    assert control.load_state_dict(layer.state_dict()) and control.choice_names == ()
    x = images(3)
    of_black = [each.expand(3, *each.shape[1:]) for each in layer.choice(torch.zeros_like(x[:1]))]
    torch.testing.assert_close(control(x), layer.apply_choice(x, tuple(of_black)))
    if not bands:
        torch.testing.assert_close(control.filters(x), layer.filters(x, tuple(of_black)))
    with pytest.raises(ValueError, match=r"expected input \(B, 8, H, W\)"):
        control(x[:, :7])


def test_the_control_trains_what_it_chooses() -> None:
    control = FDConv2d(8, 12, 3, frequency_groups=3, control="constant")
    before = [each.detach() for each in control.choice(images(1).float())]
    control(images(4).float()).square().mean().backward()
    torch.optim.SGD(control.parameters(), lr=1.0).step()
    after = control.choice(images(1).float())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_layer_in_float64_starts_as_a_kernel_that_is_not_rounded() -> None:
    layer, kernel = FDConv2d(5, 3, 3, frequency_groups=1).double(), torch.randn(3, 5, 3, 3, dtype=torch.float64)
    draw_kernels(layer, lambda drawn: drawn.copy_(kernel))
    torch.testing.assert_close(weighed_kernel(layer, torch.ones(1)), kernel, rtol=1e-12, atol=1e-12)


def test_parameters() -> None:
    count = {
        flag: sum(p.numel() for p in FDConv2d(64, 64, 3, bias=False, band_modulation=flag).parameters())
        for flag in (True, False)
    }
    assert count[True] == 46_462
    assert count[True] - count[False] == 3 * (9 * 64 + 1)


def test_it_starts_as_the_kernel_that_it_is_given_and_a_step_moves_it_as_far() -> None:
    static, layer = nn.Conv2d(12, 8, 3, padding=1), FDConv2d(12, 8, 3, padding=1)
    draw_kernels(layer, lambda kernel: kernel.copy_(static.weight))
    torch.testing.assert_close(layer.spectrum.norm(), static.weight.norm(), rtol=0.05, atol=0)
    x, target = torch.randn(16, 12, 8, 8), torch.randn(16, 8, 8, 8)
    with torch.no_grad():
        for parameter in (*layer.heads.parameters(), layer.local_gate.weight, *layer.bands.parameters()):
            parameter.zero_()  # all gates are 1
        layer.bias.copy_(static.bias)
    torch.testing.assert_close(layer(x), static(x), rtol=1e-4, atol=1e-5)
    before = static.weight.detach().clone()
    for arm in (static, layer):
        ((arm(x) - target) ** 2).mean().backward()
        parameter = static.weight if arm is static else layer.spectrum
        with torch.no_grad():
            parameter.sub_(parameter.grad)
    moved = layer.apply_choice(x, layer.choice(x)), static(x)
    kernel = layer._from_frequencies(None)[0].movedim(3, 1)
    assert (kernel - static.weight).norm() < 0.15 * (static.weight - before).norm()
    torch.testing.assert_close(*moved, rtol=0, atol=0.2)


@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 5), (16, 1), (2, 3)])
def test_bands_with_open_gates_are_the_image(size: tuple[int, int]) -> None:
    bands, x = BandModulation(4).double(), torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(bands(x, torch.ones(2, 3, *size).double()), x)
    below = torch.fft.fft2(bands(x, torch.zeros(2, 3, *size).double()))
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64).abs() for n in size)
    kept = torch.maximum(rows[:, None], columns) <= 1 / 16
    torch.testing.assert_close(below, torch.fft.fft2(x) * kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frequency_groups": 0}, "frequency_groups=0"),
        ({"frequency_groups": 10_000}, r"frequency_groups=10000: the kernel has 312 frequencies"),
        ({"reduction": 0}, "reduction=0"),
        ({"control": "frozen"}, "control='frozen'.*none, constant"),
    ],
)
def test_wrong_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FDConv2d(8, 8, 3, **changes)
