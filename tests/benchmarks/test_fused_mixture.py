"""The fused mixture against a float64 loop over images and kernels, and compiled for an H200 that need not be here."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import benchmarks
from benchmarks import fused_mixture
from benchmarks.fused_mixture import conv2d_mixture_fused, convolve_options, correlate_options

try:
    TRITON = np.lib.NumpyVersion(version("triton"))
except PackageNotFoundError:
    pytest.skip("no triton here", allow_module_level=True)

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # stride, padding, dilation
GEOMETRIES: dict[str, tuple[Geometry, tuple[int, int]]] = {
    "3x3": (((1, 1), (1, 1), (1, 1)), (3, 3)),
    "1x1, stride 2": (((2, 2), (0, 0), (1, 1)), (1, 1)),
    "stride 2 x 1": (((2, 1), (1, 1), (1, 1)), (3, 3)),
    "dilated": (((1, 1), (2, 2), (2, 2)), (3, 3)),
    "rectangular": (((1, 1), (0, 2), (1, 1)), (1, 5)),
    "stride 3 x 2, dilated": (((3, 2), (2, 1), (2, 1)), (2, 3)),
}
SIZES = (3, 3, 6, 4, 5, 6)  # B, K, O, C, H, W


def tensors(kernel: tuple[int, int] = (3, 3), sizes: tuple[int, ...] = SIZES) -> list[Tensor]:
    """x, kernels and pi in float32, x in neither of the usual layouts."""
    batch, count, out_channels, channels, height, width = sizes
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(height, channels, width, batch, generator=generator).permute(3, 1, 0, 2)
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


def fused(inputs: list[Tensor], geometry: Geometry, above: Tensor, programs: int | None = None) -> list[Tensor]:
    """The output and the gradients of x, kernels and pi, the gradients' images in as few slices as asked."""
    with pytest.MonkeyPatch.context() as patch:
        if programs is not None:
            patch.setattr(fused_mixture, "GRADIENT_PROGRAMS", programs)
        leaves = [t.detach().requires_grad_() for t in inputs]
        y = conv2d_mixture_fused(*leaves, *geometry)
        return [y.detach(), *torch.autograd.grad(y, leaves, above)]


def gradient_without_images(inputs: list[Tensor], geometry: Geometry, above: Tensor) -> list[Tensor]:
    """The gradients of kernels and pi, where a gradient of x may not even be computed."""
    leaves = [t.detach().requires_grad_() for t in inputs[1:]]
    y = conv2d_mixture_fused(inputs[0], *leaves, *geometry)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(fused_mixture, "_convolve")
        return list(torch.autograd.grad(y, leaves, above))


def gradients_equal_finite_differences(inputs: list[Tensor], geometry: Geometry) -> bool:
    precise = [t.double().requires_grad_() for t in inputs]
    return torch.autograd.gradcheck(lambda *given: conv2d_mixture_fused(*given, *geometry), precise, fast_mode=True)


def triton_is_imported() -> bool:
    return "triton" in sys.modules


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Executor]:
    """A process whose Triton runs kernels as NumPy: it must know so before triton's first import."""
    if TRITON < "3.7.0" and np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        pytest.skip("the interpreter of Triton before 3.7 does not run with NumPy from 2.4 on")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            started = pool.submit(triton_is_imported)
        assert not started.result(), "importing fused_mixture must not import triton"
        yield pool


def assert_equal_to_rounding(actual: list[Tensor], wanted: list[Tensor], relative: float) -> None:
    for given, oracle in zip(actual, wanted, strict=True):
        assert given.shape == oracle.shape
        assert (given.double() - oracle).norm() < relative * oracle.norm()


@pytest.mark.parametrize("name", GEOMETRIES)
def test_outputs_and_gradients_equal_the_loop(name: str, interpreter: Executor) -> None:
    geometry, kernel = GEOMETRIES[name]
    inputs = tensors(kernel)
    above = gradient_above(*inputs, geometry)
    actual = interpreter.submit(fused, inputs, geometry, above).result()
    assert_equal_to_rounding(actual, expected(inputs, geometry, above), 1e-6)
    assert actual[0].is_contiguous(memory_format=torch.channels_last)


def test_many_tiles_and_slices_of_several_images(interpreter: Executor) -> None:
    """More pixels, channels and output channels than a block; two slices of two images and of one."""
    geometry = ((1, 1), (0, 0), (1, 1))
    inputs = tensors((1, 2), (3, 5, 70, 40, 17, 18))
    above = gradient_above(*inputs, geometry)
    actual = interpreter.submit(fused, inputs, geometry, above, programs=2 * 2 * 2 * 2).result()
    assert_equal_to_rounding(actual, expected(inputs, geometry, above), 1e-6)


def test_one_image_kernel_channel_and_pixel(interpreter: Executor) -> None:
    geometry = ((1, 1), (0, 0), (1, 1))
    inputs = tensors((1, 1), (1, 1, 1, 1, 1, 1))
    above = torch.ones(1, 1, 1, 1)
    actual = interpreter.submit(fused, inputs, geometry, above).result()
    assert_equal_to_rounding(actual, expected(inputs, geometry, above), 1e-6)


def test_half_precision_keeps_the_sum_over_kernels_precise(interpreter: Executor) -> None:
    """At a high temperature pi is nearly flat; what differs from 1/K must survive in the mixture and in pi's gradient.

    float16 stands for bfloat16, which the interpreter cannot multiply: the kernels are the same. What is rounded to
    11 bits is the mixed kernel, the output and the gradient of x, each once.
    """
    geometry = GEOMETRIES["3x3"][0]
    x, kernels, pi = tensors()
    kernels = kernels - kernels.mean(0)  # a flat pi gives nothing at all
    inputs = [x.half(), kernels, 1 / 3 + 1e-3 * pi]
    above = gradient_above(*inputs, geometry)
    actual = interpreter.submit(fused, inputs, geometry, above).result()
    assert [t.dtype for t in actual] == [torch.float16, torch.float16, torch.float32, torch.float32]
    wanted = expected(inputs, geometry, above)
    assert_equal_to_rounding(actual[:2], wanted[:2], 2**-10)
    assert_equal_to_rounding(actual[2:], wanted[2:], 1e-6)


def test_gradients_equal_finite_differences(interpreter: Executor) -> None:
    inputs = tensors((2, 2), (2, 2, 2, 2, 3, 3))
    geometry = ((2, 1), (1, 0), (1, 1))
    assert interpreter.submit(gradients_equal_finite_differences, inputs, geometry).result()


def test_frozen_images_need_no_gradient(interpreter: Executor) -> None:
    geometry, kernel = GEOMETRIES["1x1, stride 2"]
    inputs = tensors(kernel)
    above = gradient_above(*inputs, geometry)
    actual = interpreter.submit(gradient_without_images, inputs, geometry, above).result()
    assert_equal_to_rounding(actual, expected(inputs, geometry, above)[2:], 1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_on_cuda_outputs_and_gradients_equal_the_loop(
    name: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    geometry, kernel = GEOMETRIES[name]
    inputs = tensors(kernel, (9, 5, 70, 72, 17, 18))
    inputs[0] = inputs[0].to(dtype)
    above = gradient_above(*inputs, geometry)
    wanted = expected(inputs, geometry, above)
    inputs = [t.cuda() for t in inputs]
    actual = fused(inputs, geometry, above.cuda(), programs=64)
    rounding = 2**-7 if dtype == torch.bfloat16 else 1e-6
    assert_equal_to_rounding([t.cpu() for t in actual[:2]], wanted[:2], rounding)
    assert_equal_to_rounding([t.cpu() for t in actual[2:]], wanted[2:], 1e-5)
    assert all(map(torch.equal, actual, fused(inputs, geometry, above.cuda(), programs=64)))


# The layers of a ResNet-18 for CIFAR with K = 4: channels and size of the image. An H200 has 228 KiB of shared memory
# a multiprocessor, of which the driver takes 1 KiB a program; each kernel must leave room for a second program.
LAYERS = [(64, 32), (128, 16), (256, 8), (512, 4)]
SHARED_BYTES = 113 * 1024
POINTERS = {torch.bfloat16: "*bf16", torch.float32: "*fp32"}


@pytest.fixture(scope="module")
def compiler_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="kernels are interpreted")
@pytest.mark.parametrize("dtype", POINTERS)
@pytest.mark.parametrize(("channels", "size"), LAYERS)
def test_kernels_compile_for_an_h200(channels: int, size: int, dtype: torch.dtype, compiler_cache: None) -> None:
    from benchmarks import fused_kernels

    geometry = {"KERNELS": 4, "TAPS": 9, "TAPS_W": 3, "AXIS_H": (1, 1, -1, 1), "AXIS_W": (1, 1, -1, 1)}
    convolve = {
        **dict.fromkeys(("source", "target"), POINTERS[dtype]),
        **dict.fromkeys(("bank", "pi"), "*fp32"),
        **{"source_h": size, "source_w": size, "source_channels": channels},
        **{"target_w": size, "target_pixels": size**2, "target_channels": channels},
    }
    correlate = {
        **dict.fromkeys(("x", "grad"), POINTERS[dtype]),
        **dict.fromkeys(("bank", "pi", "grad_bank", "grad_pi"), "*fp32"),
        **{"batch": 128, "images": 6, "x_h": size, "x_w": size, "x_channels": channels},
        **{"grad_w": size, "grad_pixels": size**2, "grad_channels": channels},
    }
    for kernel, arguments, options in (
        (fused_kernels.convolve, convolve, convolve_options(size**2, 4, dtype.itemsize, 4)),
        (fused_kernels.correlate, correlate, correlate_options(4, dtype.itemsize)),
    ):
        shared_bytes, ptx = compiled(kernel, arguments, {**geometry, "PRECISION": "tf32", **options})
        assert shared_bytes <= SHARED_BYTES
        assert "wgmma.mma_async" in ptx
        assert "cp.async" in ptx  # loads are under way while tiles are multiplied


def compiled(kernel: object, arguments: dict[str, str | int], constants: dict[str, object]) -> tuple[int, str]:
    """Shared memory in bytes and PTX for pointers ("*bf16") and ints, specialised as at a launch."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {name: constants.pop(name) for name in ("num_warps", "num_stages", "enable_fp_fusion")}
    signature = {name: value if isinstance(value, str) else "i32" for name, value in arguments.items()}
    aligned = [isinstance(value, str) or value % 16 == 0 for value in arguments.values()]
    source = ASTSource(
        kernel,
        signature | dict.fromkeys(constants, "constexpr"),
        {(kernel.arg_names.index(name),): value for name, value in constants.items()},
        {(i,): [["tt.divisibility", 16]] for i, yes in enumerate(aligned) if yes},
    )
    result = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return result.metadata.shared, result.asm["ptx"]


def test_off_cuda_the_way_out_is_named() -> None:
    with pytest.raises(ValueError, match=r"runs on CUDA, x is on cpu; choose another formulation"):
        conv2d_mixture_fused(*tensors(), *GEOMETRIES["3x3"][0])


def test_without_triton_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "benchmarks.fused_kernels", raising=False)
    monkeypatch.delattr(benchmarks, "fused_kernels", raising=False)
    with pytest.raises(ValueError, match="needs triton: install it, or choose another formulation"):
        conv2d_mixture_fused(*tensors(), *GEOMETRIES["3x3"][0])


@pytest.mark.parametrize("wrong", ["channels", "kernels", "images"])
def test_shapes_that_do_not_fit_are_refused(wrong: str) -> None:
    x, kernels, pi = tensors()
    given = {
        "channels": (x, kernels[:, :, 1:], pi),
        "kernels": (x, kernels, pi[:, 1:]),
        "images": (x[1:], kernels, pi),
    }
    with pytest.raises(ValueError, match=r"x must be \(B, C, H, W\)"):
        conv2d_mixture_fused(*given[wrong], *GEOMETRIES["3x3"][0])


def test_dtypes_that_do_not_fit_are_refused() -> None:
    x, kernels, pi = tensors()
    with pytest.raises(ValueError, match=r"x is torch.float32, kernels torch.bfloat16; allowed"):
        conv2d_mixture_fused(x, kernels.bfloat16(), pi, *GEOMETRIES["3x3"][0])
