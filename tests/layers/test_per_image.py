"""Filters for each image against float64 loops, and their kernels compiled for an H100 that need not be here."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dynfilt.layers import per_image
from dynfilt.layers.per_image import is_offered, mix_filters, mixture_per_image, per_image_conv2d
from tests.layers.compiled_kernels import compiled_only

pytestmark = pytest.mark.slow

try:
    TRITON = np.lib.NumpyVersion(version("triton"))
except PackageNotFoundError:
    pytest.skip("no triton here", allow_module_level=True)

Geometry = tuple[list[int], list[int], list[int]]  # stride, padding, dilation
# With a kernel and an image size.
GEOMETRIES: dict[str, tuple[Geometry, tuple[int, int], tuple[int, int]]] = {
    "3x3": (([1, 1], [1, 1], [1, 1]), (3, 3), (5, 6)),
    "1x1, stride 2": (([2, 2], [0, 0], [1, 1]), (1, 1), (4, 6)),
    "3x3, stride 2": (([2, 2], [1, 1], [1, 1]), (3, 3), (8, 6)),
    "stride 2 x 1": (([2, 1], [1, 1], [1, 1]), (3, 3), (6, 5)),
    "dilated": (([1, 1], [2, 2], [2, 2]), (3, 3), (5, 6)),
    "stride and dilation 2": (([2, 2], [2, 2], [2, 2]), (3, 3), (6, 8)),
    "rectangular": (([1, 1], [0, 2], [1, 1]), (1, 5), (5, 6)),
    "stride 3 x 2, dilated": (([3, 2], [2, 1], [2, 1]), (2, 3), (6, 6)),
    "no padding": (([1, 1], [0, 0], [1, 1]), (3, 2), (7, 6)),
    "5x5": (([1, 1], [2, 2], [1, 1]), (5, 5), (5, 6)),
}
WIDE: Geometry = ([1, 1], [0, 1], [1, 1])
# With numbers of images, kernels and channels.
CASES: dict[str, tuple[Geometry, tuple[int, int], tuple[int, int], tuple[int, int, int, int]]] = {
    **{name: (*case, (2, 3, 7, 5)) for name, case in GEOMETRIES.items()},
    "odd height and width, stride 2": (([2, 2], [1, 1], [1, 1]), (3, 3), (7, 9), (2, 2, 16, 16)),
    "odd width, stride 2": (([2, 2], [1, 1], [1, 1]), (3, 3), (8, 9), (2, 2, 16, 16)),
    "one image, channel, pixel and kernel": (([1, 1], [0, 0], [1, 1]), (1, 1), (1, 1), (1, 1, 1, 1)),
    "one image, channel and pixel": (([1, 1], [0, 0], [1, 1]), (1, 1), (1, 1), (1, 4, 1, 1)),
    # Several blocks of pixels and of `mix` and `unmix`, and images.
    "channels that do not fill their blocks": (WIDE, (1, 2), (7, 19), (2, 2, 129, 65)),
    "channels that fill their blocks": (WIDE, (1, 2), (7, 19), (1, 2, 64, 128)),
    "more images than a program mixes": (WIDE, (1, 2), (1, 2), (17, 2, 40, 30)),
}


def tensors(kernel: tuple[int, int], size: tuple[int, int], *sizes: int) -> list[Tensor]:
    """x, kernels and pi in float32 for B, K, O, C; x in neither of the usual layouts."""
    batch, count, out_channels, channels = sizes
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(size[0], channels, size[1], batch, generator=generator).permute(3, 1, 0, 2)
    shapes = [(count, out_channels, channels, *kernel), (batch, count)]
    return [x, *(torch.randn(shape, generator=generator) for shape in shapes)]


def loop(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    """Image by image and kernel by kernel: sum_k pi_k conv(x, W_k)."""
    images = [
        sum(
            weight * F.conv2d(image[None], kernel, None, *geometry)[0]
            for weight, kernel in zip(row, kernels, strict=True)
        )
        for image, row in zip(x, pi, strict=True)
    ]
    return torch.stack(images)


def gradient_above(x: Tensor, kernels: Tensor, pi: Tensor, geometry: Geometry) -> Tensor:
    """A gradient of the output that is not contiguous."""
    shape = loop(x.double(), kernels.double(), pi.double(), geometry).shape
    generator = torch.Generator().manual_seed(1)
    return torch.randn(shape[::-1], generator=generator).permute(3, 2, 1, 0).to(x.dtype)


def expected(inputs: list[Tensor], geometry: Geometry, above: Tensor) -> list[Tensor]:
    """The output and the gradients of x, kernels and pi in float64."""
    precise = [t.double().requires_grad_() for t in inputs]
    y = loop(*precise, geometry)
    return [y.detach(), *torch.autograd.grad(y, precise, above.double())]


def mixture(inputs: list[Tensor], geometry: Geometry, above: Tensor) -> list[Tensor]:
    """The output and the gradients of x, kernels and pi."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    y = mixture_per_image(*leaves, *geometry)
    return [y.detach(), *torch.autograd.grad(y, leaves, above)]


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Executor]:
    """A process whose Triton runs kernels as NumPy: it must know so before triton's first import."""
    if TRITON < "3.7.0" and np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        pytest.skip("the interpreter of Triton before 3.7 does not run with NumPy from 2.4 on")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            started = pool.submit(triton_is_imported)
        assert not started.result(), "importing per_image must not import triton"
        yield pool


def triton_is_imported() -> bool:
    return "triton" in sys.modules


def assert_equal_to_rounding(actual: list[Tensor], wanted: list[Tensor], relative: float) -> None:
    for given, oracle in zip(actual, wanted, strict=True):
        assert given.shape == oracle.shape
        assert (given.double() - oracle).norm() < relative * oracle.norm()


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_equal_the_loop(name: str, interpreter: Executor) -> None:
    geometry, kernel, size, sizes = CASES[name]
    inputs = tensors(kernel, size, *sizes)
    above = gradient_above(*inputs, geometry)
    actual = interpreter.submit(mixture, inputs, geometry, above).result()
    assert_equal_to_rounding(actual, expected(inputs, geometry, above), 1e-6)
    assert actual[0].is_contiguous(memory_format=torch.channels_last)


def test_half_precision_keeps_the_sum_over_kernels_precise(interpreter: Executor) -> None:
    """At a high temperature pi is nearly flat; what differs from 1/K must survive in the mixture and its gradients.

    float16 stands for bfloat16, which the interpreter cannot multiply: the kernels are the same. What is rounded to
    11 bits is the mixed kernel, its gradient, the output and the gradient of x, each once.
    """
    geometry, kernel, size = GEOMETRIES["3x3"]
    x, kernels, pi = tensors(kernel, size, 3, 3, 32, 16)
    kernels = kernels - kernels.mean(0)  # a flat pi gives nothing at all
    inputs = [x.half(), kernels, 1 / 3 + 1e-3 * pi]
    above = gradient_above(*inputs, geometry)
    actual = interpreter.submit(mixture, inputs, geometry, above).result()
    assert [t.dtype for t in actual] == [torch.float16, torch.float16, torch.float32, torch.float32]
    assert_equal_to_rounding(actual, expected(inputs, geometry, above), 2**-10)


def outputs_and_gradients_of_parts(inputs: list[Tensor], geometry: Geometry) -> list[Tensor]:
    """`per_image_conv2d` of filters in the usual layout, and gradients where only one input needs one."""
    x, kernels, pi = inputs
    filters = mix_filters(pi, kernels, x.dtype).contiguous().requires_grad_()
    images = x.clone().requires_grad_()
    y = per_image_conv2d(x, filters, *geometry)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(per_image, "_grad_images")
        [grad_filters] = torch.autograd.grad(y.sum(), [filters])
    z = per_image_conv2d(images, filters.detach(), *geometry)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(per_image, "_grad_filters")
        [grad_images] = torch.autograd.grad(z.sum(), [images])
    return [y.detach(), grad_filters, grad_images]


def test_what_needs_no_gradient_has_none_computed(interpreter: Executor) -> None:
    geometry, kernel, size = GEOMETRIES["3x3, stride 2"]
    x, kernels, pi = tensors(kernel, size, 3, 2, 16, 16)
    actual = interpreter.submit(outputs_and_gradients_of_parts, [x, kernels, pi], geometry).result()
    images = x.double().requires_grad_()
    filters = torch.einsum("bk,kocij->bocij", pi.double(), kernels.double()).requires_grad_()
    y = torch.cat([F.conv2d(i[None], f, None, *geometry) for i, f in zip(images, filters, strict=True)])
    wanted = [y.detach(), *torch.autograd.grad(y.sum(), [filters, images])]
    assert_equal_to_rounding(actual, wanted, 1e-6)


def compiled_equals_eager(inputs: list[Tensor], geometry: Geometry, backend: str) -> list[tuple[Tensor, Tensor]]:
    def layer(x: Tensor, kernels: Tensor, pi: Tensor) -> Tensor:
        assert is_offered(x)
        return F.relu(mixture_per_image(2 * x, kernels, pi.softmax(1), *geometry)) + 1

    leaves = [t.detach().requires_grad_() for t in inputs]
    outputs = [layer(*leaves), torch.compile(layer, backend=backend, fullgraph=True)(*leaves)]
    gradients = [torch.autograd.grad(y.square().sum(), leaves) for y in outputs]
    return [(outputs[0].detach(), outputs[1].detach()), *zip(*gradients, strict=True)]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_layer_is_compiled_whole_and_computes_the_same(backend: str, interpreter: Executor) -> None:
    geometry, kernel, size = GEOMETRIES["3x3"]
    inputs = tensors(kernel, size, 2, 2, 16, 16)
    inputs[0] = inputs[0].contiguous(memory_format=torch.channels_last)
    for eager, compiled in interpreter.submit(compiled_equals_eager, inputs, geometry, backend).result():
        assert_equal_to_rounding([compiled], [eager.double()], 1e-6)
        assert compiled.stride() == eager.stride()


def checked_operators() -> list[dict[str, str]]:
    x, filters = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 16, 3, 3)
    pi, ones = torch.rand(2, 2), [1, 1]
    leaf = [tensor.clone().requires_grad_() for tensor in (x, filters, pi)]
    calls = {
        "mix_filters": (leaf[2], leaf[1], torch.float32),
        "unmix_filters": (filters, pi, filters),
        "per_image_conv2d": (leaf[0], leaf[1], ones, ones, ones),
        "per_image_conv2d_images": (x, filters, [4, 4], ones, ones, ones),
        "per_image_conv2d_filters": (x, x, [3, 3], ones, ones, ones),
    }
    return [torch.library.opcheck(getattr(torch.ops.dynfilt, name).default, call) for name, call in calls.items()]


def test_operators_are_what_pytorch_is_told_they_are(interpreter: Executor) -> None:
    """Schemas, shapes and strides of fake tensors, autograd and its tracing, as torch.library checks them."""
    for checked in interpreter.submit(checked_operators).result():
        assert len(checked) >= 4 and set(checked.values()) == {"SUCCESS"}


def mixture_dtypes_under_autocast(inputs: list[Tensor], geometry: Geometry) -> tuple[torch.dtype, torch.dtype]:
    kernels = inputs[1].requires_grad_()
    with torch.autocast("cpu", torch.float16):
        y = mixture_per_image(inputs[0], kernels, inputs[2], *geometry)
    return y.dtype, torch.autograd.grad(y.sum(), [kernels])[0].dtype


def test_under_autocast_the_convolution_has_its_dtype(interpreter: Executor) -> None:
    geometry, kernel, size = GEOMETRIES["3x3"]
    answer = interpreter.submit(mixture_dtypes_under_autocast, tensors(kernel, size, 2, 2, 16, 16), geometry)
    assert answer.result() == (torch.float16, torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_on_cuda_outputs_and_gradients_equal_the_loop(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee")
    geometry, kernel, _ = GEOMETRIES[name]
    inputs = tensors(kernel, (18, 24), 9, 5, 70, 72)
    inputs[0] = inputs[0].to(dtype)
    above = gradient_above(*inputs, geometry)
    on_gpu = [t.cuda() for t in inputs]
    actual = mixture(on_gpu, geometry, above.cuda())
    wanted = expected(inputs, geometry, above)
    assert_equal_to_rounding([t.cpu() for t in actual], wanted, 2**-7 if dtype == torch.bfloat16 else 1e-5)
    assert all(map(torch.equal, actual, mixture(on_gpu, geometry, above.cuda())))


# Layers of a ResNet-18 for CIFAR, narrow, with a stride, and wide: channels read and written, size and stride.
LAYERS = [(64, 64, 32, 1), (64, 128, 32, 2), (256, 256, 8, 1)]
SHARED_BYTES = 227 * 1024  # what one program may have of an H100's multiprocessor


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, Any]]]:
    """The name and the compilation of each kernel that is launched."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("kernels are interpreted")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    with compiled_only() as found:
        yield found


def spilled_bytes(cubin: bytes, folder: Path) -> int:
    """Bytes of local memory that a thread uses; needs cuobjdump, which comes with triton."""
    import triton

    path = folder / "kernel.cubin"
    path.write_bytes(cubin)
    tool = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    return sum(int(bytes_) for bytes_ in re.findall(r"(?:STACK|LOCAL):(\d+)", usage))


@pytest.mark.parametrize(
    ("layer", "dtype"), [*((layer, torch.bfloat16) for layer in LAYERS), (LAYERS[1], torch.float32)], ids=str
)
def test_kernels_compile_for_an_h100(
    layer: tuple[int, ...],
    dtype: torch.dtype,
    compiled: list[tuple[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Tensor cores of a warp group, asynchronous loads, and no registers spilled."""
    channels, out_channels, size, stride = layer
    x = torch.empty(1, channels, size, size, dtype=dtype)
    kernels = torch.empty(4, out_channels, channels, 3, 3)
    leaves = [t.requires_grad_() for t in (x, kernels, torch.empty(1, 4))]
    monkeypatch.setattr(per_image, "_dot_precision", lambda x: "tf32")
    y = mixture_per_image(*leaves, [stride, stride], [1, 1], [1, 1])
    torch.autograd.grad(y, leaves, torch.empty_like(y))
    assert {name for name, _ in compiled} == {"mix", "unmix", "convolve", "correlate"}
    assert len(compiled) == 4 + stride**2  # the gradient of the images: one launch for each kind of pixel
    for name, kernel in compiled:
        assert kernel.metadata.shared <= SHARED_BYTES
        assert spilled_bytes(kernel.asm["cubin"], tmp_path) == 0
        if "mix" not in name and dtype == torch.bfloat16:  # some products of TF32 need tiles turned around first
            assert "wgmma.mma_async" in kernel.asm["ptx"]
            assert "cp.async.cg" in kernel.asm["ptx"] or "cp.async.ca" in kernel.asm["ptx"]


def test_copies_for_the_gradient_of_many_filters_go_through_the_l1_cache(compiled: list[tuple[str, Any]]) -> None:
    x, grad = torch.empty(1, 64, 32, 32, dtype=torch.half), torch.empty(1, 128, 32, 32, dtype=torch.half)
    per_image._correlate_maps(x, grad, [3, 3], [(1, 1, -1), (1, 1, -1)])
    [(_, kernel)] = compiled
    assert "cp.async.ca.shared.global" in kernel.asm["ptx"]


def test_it_is_offered_on_cuda_with_triton_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_image, "INTERPRETED", False)
    on_gpu = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)
    assert is_offered(on_gpu) and not is_offered(torch.zeros(1))
    assert not is_offered(SimpleNamespace(is_cuda=True, dtype=torch.float64))
    monkeypatch.setattr(per_image, "HAS_TRITON", False)
    assert not is_offered(on_gpu)


def test_without_triton_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "dynfilt.layers.per_image_kernels", raising=False)
    inputs = tensors((3, 3), (5, 6), 2, 2, 16, 16)
    with pytest.raises(ValueError, match="need triton: install it, or choose another formulation"):
        mixture_per_image(*inputs, *GEOMETRIES["3x3"][0])


@pytest.mark.parametrize("wrong", ["channels", "images", "kernels"])
def test_shapes_that_do_not_fit_are_refused(wrong: str) -> None:
    x, filters = torch.zeros(2, 4, 5, 5), torch.zeros(2, 3, 4, 3, 3)
    if wrong == "kernels":
        with pytest.raises(ValueError, match=r"pi must be \(B, K\)"):
            mix_filters(torch.zeros(2, 3), filters, torch.float32)
        return
    given = {"channels": (x, filters[:, :, 1:]), "images": (x[1:], filters)}[wrong]
    with pytest.raises(ValueError, match=r"x must be \(B, C, H, W\)"):
        per_image_conv2d(*given, [1, 1], [1, 1], [1, 1])


def test_dtypes_and_sizes_that_do_not_fit_are_refused() -> None:
    x, filters = torch.zeros(2, 4, 5, 5), torch.zeros(2, 3, 4, 3, 3)
    with pytest.raises(ValueError, match=r"x is torch.float32, filters torch.bfloat16; allowed"):
        per_image_conv2d(x, filters.bfloat16(), [1, 1], [1, 1], [1, 1])
    with pytest.raises(ValueError, match=r"with dilation \[3, 3\] exceed the padded image"):
        per_image_conv2d(x, filters, [1, 1], [0, 0], [3, 3])
