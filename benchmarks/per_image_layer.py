"""One layer's part of `benchmarks.per_image_gpu`: every way to apply a mixture, checked against float32 and timed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import gemm_options, per_image
from benchmarks.graph_timing import graph_us, relative_error
from benchmarks.per_image_candidates import MIX_CANDIDATES, NUM_KERNELS, UNMIX_CANDIDATES, Layer, candidates
from benchmarks.timing import Deadline
from dynfilt.layers.formulation import force_formulation
from dynfilt.layers.mixture import conv2d_mixture

WRONG = 0.02  # relative error; bfloat16 products are near 0.003
Emit = Callable[..., None]


class Measurement:
    """A layer's tensors for one batch, the float32 results, and what has been measured; `emit` takes each row."""

    def __init__(self, layer: Layer, batch: int, device: torch.device, emit: Emit, most: int | None) -> None:
        self.layer, self.device, self.most = layer, device, most
        self.deadline = Deadline(None)
        self._emit = emit
        self._prepared = False
        on_gpu = device.type == "cuda"
        # Triton's interpreter cannot multiply bfloat16.
        dtype = torch.bfloat16 if on_gpu else torch.float32
        generator = torch.Generator(device).manual_seed(batch)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, device=device)

        def last(tensor: Tensor) -> Tensor:
            return tensor.to(dtype=dtype, memory_format=torch.channels_last)

        self.x = last(normal(batch, layer.in_channels, layer.size, layer.size)).requires_grad_()
        bank = normal(NUM_KERNELS * layer.out_channels, layer.in_channels, 3, 3) / (layer.in_channels * 9) ** 0.5
        bank = bank.to(memory_format=torch.channels_last)
        self.kernels = bank.unflatten(0, (NUM_KERNELS, layer.out_channels)).requires_grad_()
        self.pi = normal(batch, NUM_KERNELS).softmax(1).requires_grad_()
        self.above = last(normal(batch, layer.out_channels, *[layer.size // layer.stride] * 2))
        self.inputs = [self.x, self.kernels, self.pi]
        self.static = self.kernels[0].detach().to(dtype)
        backend = "inductor" if on_gpu else "aot_eager"
        self._compiled = torch.compile(self._mixture, backend=backend, dynamic=False)

    def prepare(self) -> None:
        """What takes long and no device time: torch.compile. Its failure is seen again when it is measured."""
        self._prepared = True
        with contextlib.suppress(Exception), force_formulation("stacked"):
            self._step(self._compiled, self.inputs)

    def run(self, seconds: float) -> None:
        """Measure everything, what matters first; nothing is begun after so many seconds."""
        self.deadline = Deadline(seconds)
        for part in (
            self._static,
            self._float32_results,
            *([self._by_image] if self.layer.by_image else []),
            self._whole,
        ):
            if not self.deadline.seconds_left():
                return
            try:
                part()
            except Exception as exception:
                self._emit(
                    what=part.__name__.strip("_"), way="all", us=None, error=None, failure=self._reason(exception)
                )

    def measure(
        self,
        what: str,
        way: str,
        work: Callable[[], Any],
        wanted: list[Tensor] | None = None,
        part: Callable[[Any], Any] = lambda results: results,
        **facts: Any,
    ) -> float | None:
        """Microseconds of one call, None when it fails, is wrong or comes after the deadline.

        `part` of what it returns is compared with `wanted`.
        """
        if not self.deadline.seconds_left():
            return None
        error = us = failure = None
        try:
            results = part(work())
            if wanted is not None:
                results = [results] if isinstance(results, Tensor) else results
                errors = [relative_error(a, b) for a, b in zip(results, wanted, strict=True)]
                error = float(torch.tensor(errors).max())  # of a NaN too, which Python's max may pass over
            del results
            us = graph_us(work, self.device)
            failure = "wrong" if error is not None and not error < WRONG else None
        except Exception as exception:  # out of memory, too much shared memory, a compiler's own
            failure = self._reason(exception)
        self._emit(what=what, way=way, us=us, error=error, failure=failure, **facts)
        return None if failure else us

    def _reason(self, exception: Exception) -> str:
        """One line for a failure. Raises, and so ends the process, when the device no longer answers."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return f"{type(exception).__name__}: {' '.join(str(exception).split())[:200]}"

    def _static(self) -> None:
        stride, padding, dilation = self.layer.geometry
        x, above = self.x.detach(), self.above
        self.measure("forward", "static", lambda: F.conv2d(x, self.static, None, stride, padding, dilation))
        for what, mask in (("images", (True, False, False)), ("filters", (False, True, False))):
            self.measure(what, "static", lambda mask=mask: self._backward(x, above, self.static, mask))

    def _backward(self, x: Tensor, above: Tensor, weight: Tensor, mask: tuple[bool, bool, bool]) -> list[Tensor]:
        geometry = (*self.layer.geometry, False, (0, 0), 1)
        gradients = torch.ops.aten.convolution_backward(above, x, weight, None, *geometry, mask)
        return [gradient for gradient, asked in zip(gradients, mask, strict=True) if asked]

    def _float32_results(self) -> None:
        """`expected`: y, the gradients of x, kernels and pi, and the filters and their gradients of a few images."""
        x, kernels, pi = (t.detach().float().requires_grad_() for t in self.inputs)
        above = self.above.float()
        y: Any = 0
        for k in range(NUM_KERNELS):
            y = y + F.conv2d(x, kernels[k], None, *self.layer.geometry) * pi[:, k, None, None, None]
        gradients = torch.autograd.grad(y, (x, kernels, pi), above)
        few = self.few
        filters = torch.einsum("bk,kocij->bocij", pi[few], kernels).detach()
        grad_filters = [
            self._backward(x[i : i + 1], above[i : i + 1], kernels[0], (False, True, False))[0] for i in few
        ]
        names = ("y", "x", "kernels", "pi", "filters", "grad_filters")
        self.expected = dict(
            zip(names, (y.detach(), *gradients, filters, torch.stack(grad_filters).detach()), strict=True)
        )

    @property
    def few(self) -> list[int]:
        """Some images: the first, one in the middle, the last."""
        return sorted({0, len(self.x) // 2, len(self.x) - 1})

    def _by_image(self) -> None:
        """Time each kernel with each candidate's options, and leave the best in force."""
        x, kernels, pi = (t.detach() for t in self.inputs)
        geometry, size, few = self.layer.geometry, [self.layer.size] * 2, self.few

        def mix() -> Tensor:
            return per_image.mix_filters(pi, kernels, x.dtype)

        self._best_constants("mix", ("MIX_BLOCK", "MIX_IMAGES"), MIX_CANDIDATES, mix, ["filters"], lambda y: y[few])
        filters = mix()

        def forward() -> Tensor:
            return per_image.per_image_conv2d(x, filters, *geometry)

        def images() -> Tensor:
            return per_image._grad_images(self.above, filters, size, *geometry)

        def grad_filters() -> Tensor:
            return per_image._grad_filters(self.above, x, [3, 3], *geometry)

        self._best_options("forward", forward, "y")
        self._best_options("images", images, "x")
        self._best_options("filters", grad_filters, "grad_filters", lambda y: y[few])
        grad = grad_filters()
        names = ("UNMIX_BLOCK", "UNMIX_ROWS")
        unmix = partial(per_image._unmix, grad, pi, kernels)
        self._best_constants("unmix", names, UNMIX_CANDIDATES, unmix, ["pi", "kernels"])
        rows, bank = grad.permute(0, 1, 3, 4, 2).flatten(1), kernels.permute(0, 1, 3, 4, 2).flatten(1).to(x.dtype)
        weights = pi.t().to(x.dtype)
        self.measure(
            "unmix", "two products of cuBLAS, pi and kernels rounded", lambda: (rows @ bank.t(), weights @ rows)
        )

    def _best_options(
        self, role: str, work: Callable[[], Tensor], name: str, part: Callable[[Any], Any] = lambda results: results
    ) -> None:
        key, times = self.layer.key(role, self.x.element_size()), []
        for options in candidates(self.layer, role, self.most):
            gemm_options.TUNED[key] = options
            us = self.measure(role, "per image", work, [self.expected[name]], part, options=options)
            times += [] if us is None else [(us, options)]
        gemm_options.TUNED.pop(key, None)
        if times:
            gemm_options.TUNED[key] = min(times, key=lambda timed: timed[0])[1]

    def _best_constants(
        self,
        what: str,
        names: tuple[str, str],
        values: tuple[tuple[int, int], ...],
        work: Callable[[], Any],
        expected: list[str],
        part: Callable[[Any], Any] = lambda results: results,
    ) -> None:
        chosen, times = tuple(getattr(per_image, name) for name in names), []
        for pair in values[: self.most]:
            set_constants(names, pair)
            options = dict(zip(names, pair, strict=True))
            us = self.measure(
                what, "per image", work, [self.expected[name] for name in expected], part, options=options
            )
            times += [] if us is None else [(us, pair)]
        set_constants(names, min(times)[1] if times else chosen)

    def _whole(self) -> None:
        """Forward and backward of the layer in each formulation; of the static one without pi."""
        expected = [self.expected[name] for name in ("y", "x", "kernels", "pi")]
        static = [self.x, self.static.clone().requires_grad_()]

        def static_layer(x: Tensor, weight: Tensor) -> Tensor:
            return F.conv2d(x, weight, None, *self.layer.geometry)

        def layer_by_image(x: Tensor, kernels: Tensor, pi: Tensor) -> Tensor:
            return per_image.mixture_conv2d(x, kernels, pi, *self.layer.geometry)

        self.measure("whole", "static", lambda: self._step(static_layer, static))
        if self.layer.by_image:
            self.measure("whole", "per image", lambda: self._step(layer_by_image, self.inputs), expected)
        for formulation in ("stacked", "outputs"):
            with force_formulation(formulation):
                self.measure("whole", formulation, lambda: self._step(self._mixture, self.inputs), expected)
        if not self._prepared:
            return
        with force_formulation("stacked"):
            self.measure("whole", "stacked, compiled", lambda: self._step(self._compiled, self.inputs), expected)

    def _step(self, forward: Callable[..., Tensor], inputs: list[Tensor]) -> tuple[Tensor, ...]:
        y = forward(*inputs)
        return y.detach(), *torch.autograd.grad(y, inputs, self.above)

    def _mixture(self, x: Tensor, kernels: Tensor, pi: Tensor) -> Tensor:
        stride, padding, dilation = ((pair[0], pair[1]) for pair in self.layer.geometry)
        with torch.autocast(self.device.type, x.dtype, enabled=x.dtype != torch.float32):
            return conv2d_mixture(x, kernels, pi, None, stride, padding, dilation, 1)


def set_constants(names: tuple[str, ...], values: tuple[int, ...]) -> None:
    """Block sizes of `mix` and `unmix`, which are constants of per_image."""
    for name, value in zip(names, values, strict=True):
        setattr(per_image, name, value)
