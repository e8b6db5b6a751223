"""Triton kernels of the fused mixture: implicit GEMMs on NHWC maps that mix the bank (K, taps, O, C) tile by tile.

Sums have the precision of pi. Offsets within one image or one kernel are 32 bits wide, those of images and of
kernels 64. Importing this module imports triton.
"""

# mypy: ignore-errors
# (Triton's language, not Python's: arguments become tensors of their own kind.)

import triton
import triton.language as tl

# With TRITON_INTERPRET=1 at import the kernels run as NumPy on any device, for tests.
INTERPRETED = triton.knobs.runtime.interpret


@triton.jit
def _source_position(target, tap, size, AXIS: tl.constexpr):
    """Where a tap reads for positions of the target, and whether there is a pixel; AXIS is (up, tap, shift, down)."""
    numerator = target * AXIS[0] + tap * AXIS[1] + AXIS[2]
    position = numerator // AXIS[3]
    return position, (numerator >= 0) & (numerator % AXIS[3] == 0) & (position < size)


@triton.jit
def _source_pixel(
    pixel, target_w, tap, source_h, source_w, TAPS_W: tl.constexpr, AXIS_H: tl.constexpr, AXIS_W: tl.constexpr
):
    """Which pixel of the source a tap reads for pixels of the target, and whether there is one."""
    h, in_h = _source_position(pixel // target_w, tap // TAPS_W, source_h, AXIS_H)
    w, in_w = _source_position(pixel % target_w, tap % TAPS_W, source_w, AXIS_W)
    return h * source_w + w, in_h & in_w


@triton.jit
def _load(origin, pixel, in_image, channel, channels):
    """A tile of an NHWC image; 0 outside of it."""
    return tl.load(origin + pixel * channels + channel, in_image & (channel < channels), 0.0)


@triton.jit
def convolve(
    source,
    bank,
    pi,
    target,
    source_h,
    source_w,
    source_channels,
    target_w,
    target_pixels,
    target_channels,
    KERNELS: tl.constexpr,
    TAPS: tl.constexpr,
    TAPS_W: tl.constexpr,
    AXIS_H: tl.constexpr,
    AXIS_W: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_TARGET: tl.constexpr,
    BLOCK_SOURCE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Each image convolved with its mixed kernel; a program computes a tile of pixels and channels of one image.

    source (B, H, W, C), bank (K, taps, O, C), pi (B, K) -> target (B, H', W', O). The mixed tile is the left operand:
    it need not leave the registers, and a map of few pixels still fills the rows of the tensor cores.
    """
    ACCUMULATOR: tl.constexpr = pi.dtype.element_ty
    tiles = tl.cdiv(target_pixels, BLOCK_PIXELS)
    image = (tl.program_id(0) // tiles).to(tl.int64)
    pixel = tl.program_id(0) % tiles * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    o = tl.program_id(1) * BLOCK_TARGET + tl.arange(0, BLOCK_TARGET)
    source += image * source_h * source_w * source_channels
    target += image * target_pixels * target_channels
    pi += image * KERNELS
    blocks = tl.cdiv(source_channels, BLOCK_SOURCE)
    y = tl.zeros((BLOCK_TARGET, BLOCK_PIXELS), ACCUMULATOR)
    # One flat loop, so that the loads of the next step are under way across taps.
    for step in range(TAPS * blocks):
        tap = step // blocks
        c = step % blocks * BLOCK_SOURCE + tl.arange(0, BLOCK_SOURCE)
        read, in_image = _source_pixel(pixel, target_w, tap, source_h, source_w, TAPS_W, AXIS_H, AXIS_W)
        x = _load(source, read[None, :], in_image[None, :], c[:, None], source_channels)
        place = o[:, None] * source_channels + c[None, :]
        inside = (o < target_channels)[:, None] & (c < source_channels)[None, :]
        mixed = tl.zeros((BLOCK_TARGET, BLOCK_SOURCE), ACCUMULATOR)
        for k in tl.static_range(KERNELS):
            kernel = bank + (k * TAPS + tap).to(tl.int64) * target_channels * source_channels
            mixed += tl.load(pi + k) * tl.load(kernel + place, inside, 0.0).to(ACCUMULATOR)
        y = tl.dot(mixed.to(x.dtype), x, y, input_precision=PRECISION, out_dtype=ACCUMULATOR)
    inside = (o < target_channels)[:, None] & (pixel < target_pixels)[None, :]
    tl.store(target + pixel[None, :] * target_channels + o[:, None], y, inside)


@triton.jit
def _tile(tile, tiles_c, TAPS: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_C: tl.constexpr):
    """The tap, the output channels and the channels of a tile of the bank."""
    o = tile // TAPS // tiles_c * BLOCK_O + tl.arange(0, BLOCK_O)
    return tile % TAPS, o, tile // TAPS % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)


@triton.jit
def _store_inner(target, product, kernel, in_kernel):
    """The inner product of a tile with the bank's, in the precision of the tile."""
    tl.store(target, tl.sum(product * tl.load(kernel, in_kernel, 0.0).to(product.dtype)))


@triton.jit
def correlate(
    x,
    grad,
    bank,
    pi,
    grad_bank,
    grad_pi,
    batch,
    images,
    x_h,
    x_w,
    x_channels,
    grad_w,
    grad_pixels,
    grad_channels,
    KERNELS: tl.constexpr,
    TAPS: tl.constexpr,
    TAPS_W: tl.constexpr,
    AXIS_H: tl.constexpr,
    AXIS_W: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of bank and pi; a program computes a tile of one tap from a slice of `images` images.

    x (B, H, W, C), grad (B, H', W', O). With G_b the gradient of image b's mixed kernel: grad_bank[slice, k] =
    sum_b pi[b, k] G_b, (slices, K, taps, O, C); grad_pi[b, k, tile] = sum of G_b bank[k] over it, (B, K, tiles).
    """
    tile = tl.program_id(0)
    tap, o, c = _tile(tile, tl.cdiv(x_channels, BLOCK_C), TAPS, BLOCK_O, BLOCK_C)
    place = o[:, None] * x_channels + c[None, :]
    in_kernel = (o < grad_channels)[:, None] & (c < x_channels)[None, :]
    product = tl.zeros((BLOCK_O, BLOCK_C), pi.dtype.element_ty)
    sums = ()
    for _ in tl.static_range(KERNELS):
        sums += (tl.zeros_like(product),)
    blocks = tl.cdiv(grad_pixels, BLOCK_PIXELS)
    # One flat loop, so that the loads of the next image are under way before this one is finished.
    for step in range(tl.program_id(1) * images * blocks, tl.minimum((tl.program_id(1) + 1) * images, batch) * blocks):
        image = (step // blocks).to(tl.int64)
        pixel = step % blocks * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
        read, in_x = _source_pixel(pixel, grad_w, tap, x_h, x_w, TAPS_W, AXIS_H, AXIS_W)
        in_x, in_grad = (in_x & (pixel < grad_pixels))[:, None], (pixel < grad_pixels)[None, :]
        below = _load(x + image * x_h * x_w * x_channels, read[:, None], in_x, c[None, :], x_channels)
        above = _load(grad + image * grad_pixels * grad_channels, pixel[None, :], in_grad, o[:, None], grad_channels)
        product = tl.dot(above, below, product, input_precision=PRECISION, out_dtype=product.dtype)
        if step % blocks == blocks - 1:
            updated = ()
            for k in tl.static_range(KERNELS):
                updated += (sums[k] + tl.load(pi + image * KERNELS + k) * product,)
                kernel = bank + (k * TAPS + tap).to(tl.int64) * grad_channels * x_channels
                target = grad_pi + (image * KERNELS + k) * tl.num_programs(0) + tile
                _store_inner(target, product, kernel + place, in_kernel)
            sums = updated
            product = tl.zeros_like(product)
    for k in tl.static_range(KERNELS):
        row = ((tl.program_id(1) * KERNELS + k) * TAPS + tap).to(tl.int64)
        tl.store(grad_bank + row * grad_channels * x_channels + place, sums[k], in_kernel)
