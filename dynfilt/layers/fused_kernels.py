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
        h, in_h = _source_position(pixel // target_w, tap // TAPS_W, source_h, AXIS_H)
        w, in_w = _source_position(pixel % target_w, tap % TAPS_W, source_w, AXIS_W)
        inside = (c < source_channels)[:, None] & (in_h & in_w)[None, :]
        x = tl.load(source + (h * source_w + w)[None, :] * source_channels + c[:, None], inside, 0.0)
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

    x (B, H, W, C), grad (B, H', W', O). With G_b the gradient of image b's mixed kernel:
    grad_bank[slice, k] = sum_b pi[b, k] G_b, (slices, K, taps, O, C), and
    grad_pi[b, k, tile] = the sum of G_b bank[k] over the tile, (B, K, tiles).
    """
    ACCUMULATOR: tl.constexpr = pi.dtype.element_ty
    tile = tl.program_id(0)
    tiles = tl.num_programs(0)
    tiles_c = tl.cdiv(x_channels, BLOCK_C)
    tap = tile % TAPS
    o = tile // TAPS // tiles_c * BLOCK_O + tl.arange(0, BLOCK_O)
    c = tile // TAPS % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)
    place = o[:, None] * x_channels + c[None, :]
    in_kernel = (o < grad_channels)[:, None] & (c < x_channels)[None, :]
    sums = ()
    for _ in tl.static_range(KERNELS):
        sums += (tl.zeros((BLOCK_O, BLOCK_C), ACCUMULATOR),)
    product = tl.zeros((BLOCK_O, BLOCK_C), ACCUMULATOR)
    blocks = tl.cdiv(grad_pixels, BLOCK_PIXELS)
    first = tl.program_id(1) * images
    # One flat loop, so that the loads of the next image are under way before this one is finished.
    for step in range(first * blocks, tl.minimum(first + images, batch) * blocks):
        image = (step // blocks).to(tl.int64)
        pixel = step % blocks * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
        h, in_h = _source_position(pixel // grad_w, tap // TAPS_W, x_h, AXIS_H)
        w, in_w = _source_position(pixel % grad_w, tap % TAPS_W, x_w, AXIS_W)
        inside = (in_h & in_w & (pixel < grad_pixels))[:, None] & (c < x_channels)[None, :]
        origin = x + image * x_h * x_w * x_channels
        below = tl.load(origin + (h * x_w + w)[:, None] * x_channels + c[None, :], inside, 0.0)
        inside = (o < grad_channels)[:, None] & (pixel < grad_pixels)[None, :]
        origin = grad + image * grad_pixels * grad_channels
        above = tl.load(origin + pixel[None, :] * grad_channels + o[:, None], inside, 0.0)
        product = tl.dot(above, below, product, input_precision=PRECISION, out_dtype=ACCUMULATOR)
        if step % blocks == blocks - 1:
            updated = ()
            for k in tl.static_range(KERNELS):
                updated += (sums[k] + tl.load(pi + image * KERNELS + k) * product,)
                kernel = bank + (k * TAPS + tap).to(tl.int64) * grad_channels * x_channels
                inner = tl.sum(product * tl.load(kernel + place, in_kernel, 0.0).to(ACCUMULATOR))
                tl.store(grad_pi + (image * KERNELS + k) * tiles + tile, inner)
            sums = updated
            product = tl.zeros((BLOCK_O, BLOCK_C), ACCUMULATOR)
    for k in tl.static_range(KERNELS):
        row = (tl.program_id(1) * KERNELS + k) * TAPS + tap
        kernel = grad_bank + row.to(tl.int64) * grad_channels * x_channels
        tl.store(kernel + place, sums[k], in_kernel)
