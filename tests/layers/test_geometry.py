"""Sizes of a convolution against F.conv2d, which has them all."""

import pytest
import torch
import torch.nn.functional as F

from dynfilt.layers.geometry import Geometry, centred, output_size, padded, pair, read_padding

ONE = (1, 1)


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (2, 3), (4, 2), (1, 5)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("padding", [0, (2, 1), "same", "valid"])
def test_padding_by_word_and_number_is_that_of_conv2d(kernel_size, dilation, padding):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 12, 13).double(), torch.randn(4, 3, *kernel_size).double()
    read = read_padding(padding, ONE)
    given, zeros = padded(x, read, kernel_size, dilation)
    expected = F.conv2d(x, weight, padding=padding, dilation=dilation)
    torch.testing.assert_close(F.conv2d(given, weight, padding=zeros, dilation=dilation), expected)
    assert output_size(given.shape[2:], kernel_size, Geometry(ONE, zeros, dilation, 1)) == expected.shape[2:]


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (5, 1), (2, 4)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (0, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("dilation", [(1, 1), (1, 2)])
def test_a_filter_that_is_its_centre_tap_picks_the_centred_positions(kernel_size, padding, stride, dilation):
    torch.manual_seed(0)
    x = torch.randn(2, 1, 9, 12).double()
    weight = torch.zeros(1, 1, *kernel_size).double()
    weight[..., (kernel_size[0] - 1) // 2, (kernel_size[1] - 1) // 2] = 1
    expected = F.conv2d(x, weight, stride=stride, padding=padding, dilation=dilation)
    picked = centred(x, kernel_size, Geometry(stride, padding, dilation, 1))[..., :: stride[0], :: stride[1]]
    assert torch.equal(picked, expected)


def test_a_filter_larger_than_the_padded_image():
    with pytest.raises(ValueError, match=r"\(7, 3\).*larger than the padded \(4, 4\)"):
        output_size((4, 4), (7, 3), Geometry(ONE, ONE, ONE, 1))


@pytest.mark.parametrize("value", [0, -1, (1, 0), (1,), (1, 2, 3), 1.5, (1.0, 2)])
def test_what_is_no_size(value):
    with pytest.raises(ValueError, match=r"stride="):
        pair("stride", value, at_least=1)


@pytest.mark.parametrize(
    ("padding", "stride", "message"),
    [
        ("full", ONE, "padding='full': must be an int, a pair of ints, 'same' or 'valid'"),
        ("same", (2, 1), "padding='same' needs stride=1"),
        (-1, ONE, "padding=-1"),
    ],
)
def test_what_is_no_padding(padding, stride, message):
    with pytest.raises(ValueError, match=message):
        read_padding(padding, stride)
