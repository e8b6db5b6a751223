"""conv2d_per_sample against its definition, written as loops over images and taps in float64."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers import per_sample, taps
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.per_sample import conv2d_per_sample

Pair = tuple[int, int]
FORMULATIONS = ("auto", "grouped", "taps", "taps, folded")  # those of one filter an image; maps are small here

# Shape of x, shape of one image's weight (O, C/groups, kh, kw), what else is not the default.
CASES: dict[str, tuple[Sequence[int], Sequence[int], dict]] = {
    "lab": ((3, 4, 8, 8), (1, 4, 3, 3), {"padding": 1, "bias": False}),
    "few_outputs": ((3, 4, 7, 5), (4, 4, 3, 3), {"padding": 1}),
    "many_outputs": ((3, 4, 7, 5), (6, 4, 3, 3), {"padding": 1}),
    "no_padding": ((2, 3, 7, 6), (2, 3, 3, 3), {}),
    "padding_equals_reach": ((2, 3, 5, 6), (2, 3, 3, 3), {"padding": 2}),
    "padding_beyond_reach": ((2, 3, 5, 6), (2, 3, 3, 3), {"padding": (1, 4)}),
    "one_by_one": ((3, 4, 5, 3), (2, 4, 1, 1), {}),
    "one_by_one_padded": ((3, 4, 5, 3), (2, 4, 1, 1), {"padding": 1}),
    "one_by_one_stride": ((3, 4, 5, 3), (2, 4, 1, 1), {"stride": 2}),
    "stride": ((3, 4, 9, 7), (2, 4, 3, 3), {"stride": 2, "padding": 1}),
    "stride_not_square": ((3, 2, 9, 7), (2, 2, 3, 3), {"stride": (1, 3), "padding": 1}),
    "groups": ((3, 6, 5, 7), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((3, 4, 5, 7), (4, 1, 3, 3), {"groups": 4, "padding": 1}),
    "grouped_one_by_one": ((3, 6, 4, 5), (3, 2, 1, 1), {"groups": 3}),
    "dilation": ((2, 3, 9, 8), (2, 3, 3, 3), {"dilation": 2, "padding": 2}),
    "dilation_not_square": ((2, 3, 9, 8), (1, 3, 3, 2), {"dilation": (1, 3), "padding": (2, 1)}),
    "rectangle": ((2, 3, 6, 9), (2, 3, 1, 5), {"padding": (0, 2)}),
    "even_kernel": ((2, 3, 6, 5), (2, 3, 2, 4), {"padding": 1}),
    "kernel_as_large_as_the_image": ((2, 3, 4, 3), (2, 3, 4, 3), {}),
    "one_image": ((1, 3, 6, 5), (2, 3, 3, 3), {"padding": 1}),
    "one_image_groups": ((1, 4, 6, 5), (4, 2, 3, 3), {"groups": 2, "stride": 2}),
    "one_channel": ((3, 1, 5, 5), (1, 1, 3, 3), {"padding": 1}),
}
GEOMETRY = ("stride", "padding", "dilation", "groups")

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t.mT.contiguous().mT,
    "strided": lambda t: torch.stack([t, torch.full_like(t, 7.0)], dim=-1)[..., 0],
    "transposed": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=FORMULATIONS)
def formulation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name, _, folded = request.param.partition(", ")
    if folded:
        monkeypatch.setattr(taps, "LARGEST_SUMMED_MAP", 0)
    with force_formulation(name):
        yield name


def pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


def oracle(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """y[i, o, p, q] = b[i, o] + sum_cuv w[i, o, c, u, v] * x[i, c, p s + u d - pad, q s + v d - pad]."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    batch, channels, height, width = x.shape
    outputs, inputs, kh, kw = weight.shape[1:]
    out_h = (height + 2 * ph - dh * (kh - 1) - 1) // sh + 1
    out_w = (width + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    images = []
    for i in range(batch):
        padded = x.new_zeros(channels, height + 2 * ph, width + 2 * pw)
        padded[:, ph : ph + height, pw : pw + width] = x[i]
        maps = []
        for o in range(outputs):
            first = o // (outputs // groups) * inputs
            y = x.new_zeros(out_h, out_w) if bias is None else bias[i, o].expand(out_h, out_w)
            for u in range(kh):
                for v in range(kw):
                    seen = padded[first : first + inputs, u * dh :, v * dw :]
                    seen = seen[:, : (out_h - 1) * sh + 1 : sh, : (out_w - 1) * sw + 1 : sw]
                    y = y + (weight[i, o, :, u, v, None, None] * seen).sum(0)
            maps.append(y)
        images.append(torch.stack(maps))
    return torch.stack(images)


def inputs_of(name: str, layout: str = "contiguous") -> tuple[list[Tensor], dict]:
    """Leaves x, weight and, if the case has one, bias, in a layout, and the geometry."""
    x_shape, weight_shape, options = CASES[name]
    shapes = [x_shape, (x_shape[0], *weight_shape), (x_shape[0], weight_shape[0])]
    tensors = [torch.randn(*shape, dtype=torch.float64) for shape in shapes[: 3 if options.get("bias", True) else 2]]
    leaves = [LAYOUTS[layout](t).detach().requires_grad_() for t in tensors]
    for leaf, tensor in zip(leaves, tensors, strict=True):
        assert torch.equal(leaf, tensor)
    return leaves, {key: options[key] for key in GEOMETRY if key in options}


def apply(function: Callable[..., Tensor], tensors: list[Tensor], geometry: dict) -> Tensor:
    x, weight, *rest = tensors
    return function(x, weight, rest[0] if rest else None, **geometry)


def assert_equal_the_oracle(name: str, layout: str, incoming: str) -> None:
    tensors, geometry = inputs_of(name, layout)
    ours, expected = apply(conv2d_per_sample, tensors, geometry), apply(oracle, tensors, geometry)
    assert ours.shape == expected.shape
    cotangent = LAYOUTS[incoming](torch.randn(expected.shape, dtype=torch.float64))
    gradients = [torch.autograd.grad(y, tensors, cotangent) for y in (ours, expected)]
    for a, b in zip([ours, *gradients[0]], [expected, *gradients[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_equal_the_loops(name: str, formulation: str) -> None:
    assert_equal_the_oracle(name, "contiguous", "contiguous")


@pytest.mark.parametrize(
    ("layout", "incoming"),
    [
        ("channels_last", "channels_last"),
        ("contiguous", "channels_last"),
        ("strided", "transposed"),
        ("transposed", "strided"),
    ],
)
@pytest.mark.parametrize("name", ["few_outputs", "one_by_one", "groups"])
def test_layouts_of_tensors_and_incoming_gradients(name: str, layout: str, incoming: str, formulation: str) -> None:
    assert_equal_the_oracle(name, layout, incoming)


def test_an_expanded_filter_gathers_the_gradients_of_all_images(formulation: str) -> None:
    x = torch.randn(4, 3, 6, 5, dtype=torch.float64)
    shared = torch.randn(2, 3, 3, 3, dtype=torch.float64, requires_grad=True)
    gradients = []
    for function in (conv2d_per_sample, oracle):
        y = function(x, shared.expand(4, -1, -1, -1, -1), None, padding=1)
        gradients.append(torch.autograd.grad(y.square().sum(), shared)[0])
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-12)


def test_an_incoming_gradient_without_strides(formulation: str) -> None:
    tensors, geometry = inputs_of("few_outputs")
    gradients = [torch.autograd.grad(apply(f, tensors, geometry).sum(), tensors) for f in (conv2d_per_sample, oracle)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["padding_equals_reach", "stride_not_square", "groups", "dilation_not_square"])
def test_gradients_are_those_of_finite_differences(name: str, formulation: str) -> None:
    tensors, geometry = inputs_of(name)
    assert torch.autograd.gradcheck(lambda *ts: apply(conv2d_per_sample, list(ts), geometry), tensors, fast_mode=True)


def test_float32_agrees_to_its_rounding(formulation: str) -> None:
    tensors, geometry = inputs_of("lab")
    expected = apply(oracle, tensors, geometry)
    ours = apply(conv2d_per_sample, [t.float() for t in tensors], geometry)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-5)


def test_an_image_sees_its_own_filter_only(formulation: str) -> None:
    (x, weight, bias), geometry = inputs_of("few_outputs")
    y = conv2d_per_sample(x, weight, bias, **geometry)
    for gradient in torch.autograd.grad(y[1].square().sum(), [x, weight, bias]):
        assert gradient[1].abs().min() > 0
        assert gradient[[0, 2]].abs().max() == 0


@pytest.mark.parametrize(("name", "applies"), [("few_outputs", True), ("stride", False), ("groups", False)])
def test_forced_taps_run_wherever_their_geometry_allows(
    name: str, applies: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, geometry = inputs_of(name)

    def forbidden(*_: object, **__: object) -> Tensor:
        raise AssertionError("the other formulation ran")

    monkeypatch.setattr(per_sample, "conv2d_grouped" if applies else "conv2d_taps", forbidden)
    with force_formulation("taps"):
        apply(conv2d_per_sample, tensors, geometry)
    monkeypatch.undo()
    monkeypatch.setattr(per_sample, "conv2d_taps", forbidden)
    with force_formulation("grouped"):
        apply(conv2d_per_sample, tensors, geometry)


def test_a_convolution_that_was_done_by_hand(formulation: str) -> None:
    """A 3x5 image and the Sobel kernel, which a convolution turns by half a turn before it multiplies."""
    image = torch.tensor([[1.0, 0, 2, 3, 1], [3, 2, 0, 7, 0], [0, 6, 1, 1, 4]])
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    by_hand = torch.tensor([[-2.0, 1, -11, 2, 13], [-10, 4, -8, -2, 18], [-14, 1, 5, -6, 9]])
    x, weight = torch.stack([image, image.flip(1)])[:, None], sobel.flip(0, 1).expand(2, 1, 1, 3, 3)
    y = conv2d_per_sample(x, weight, padding=1)
    assert torch.equal(y[0, 0], by_hand) and torch.equal(y[1, 0], -by_hand.flip(1))


@pytest.mark.parametrize(
    ("x", "weight", "bias", "groups", "message"),
    [
        ((3, 5, 5), (2, 1, 3, 3, 3), None, 1, r"x must be \(B, C, H, W\)"),
        ((2, 3, 5, 5), (1, 3, 3, 3), None, 1, r"weight \(B, O, C/groups, kh, kw\)"),
        ((2, 3, 5, 5), (3, 1, 3, 3, 3), None, 1, "2 images but weight has 3 filters"),
        ((2, 3, 5, 5), (1, 1, 3, 3, 3), None, 1, "2 images but weight has 1 filters"),
        ((2, 3, 5, 5), (2, 1, 4, 3, 3), None, 1, "3 input channels in 1 groups"),
        ((2, 4, 5, 5), (2, 4, 4, 3, 3), None, 2, "4 input channels in 2 groups"),
        ((2, 4, 5, 5), (2, 3, 2, 3, 3), None, 2, "multiples of groups"),
        ((2, 3, 5, 5), (2, 2, 1, 3, 3), None, 2, "multiples of groups"),
        ((2, 3, 5, 5), (2, 2, 3, 3, 3), None, 0, "in 0 groups"),
        ((2, 3, 5, 5), (2, 2, 3, 3, 3), (2,), 1, r"bias must be \(B, O\) = \(2, 2\), got \(2,\)"),
        ((2, 3, 5, 5), (2, 4, 3, 3, 3), (2, 2), 1, r"bias must be \(B, O\) = \(2, 4\), got \(2, 2\)"),
    ],
)
def test_shapes_that_do_not_fit(
    x: Sequence[int], weight: Sequence[int], bias: Sequence[int] | None, groups: int, message: str, formulation: str
) -> None:
    with pytest.raises(ValueError, match=message):
        conv2d_per_sample(
            torch.zeros(*x), torch.zeros(*weight), None if bias is None else torch.zeros(*bias), groups=groups
        )


@pytest.mark.parametrize("kernel_size", [(3, 3), (2, 4)])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_word_is_that_of_conv2d(padding: str, kernel_size: Pair, formulation: str) -> None:
    x, weight = torch.randn(3, 4, 6, 7).double(), torch.randn(3, 2, 4, *kernel_size).double()
    expected = torch.cat([F.conv2d(x[i : i + 1], weight[i], padding=padding, dilation=2) for i in range(3)])
    torch.testing.assert_close(conv2d_per_sample(x, weight, padding=padding, dilation=2), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_images_give_no_outputs_and_empty_gradients(name: str, formulation: str) -> None:
    tensors, geometry = inputs_of(name)
    shape = apply(conv2d_per_sample, tensors, geometry).shape[1:]
    tensors = [t.detach()[:0].requires_grad_() for t in tensors]
    y = apply(conv2d_per_sample, tensors, geometry)
    assert y.shape == (0, *shape)
    assert [g.shape for g in torch.autograd.grad(y.sum(), tensors)] == [t.shape for t in tensors]


def test_a_kernel_larger_than_the_padded_image_is_refused_as_conv2d_does(formulation: str) -> None:
    with pytest.raises(RuntimeError, match="size"):
        conv2d_per_sample(torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 3, 7, 3), padding=1)
