"""Triton kernels for a filter for each image: convolutions as implicit GEMMs of any geometry, pixel by pixel.

Maps are (B, H, W, channels), filters (B, O, taps, C), the memory of channels-last tensors. Sums are in float32 and
in one order. Offsets within one image are 32 bits wide, those of images 64. Importing this module imports triton.
"""

# mypy: ignore-errors
# (Triton's language, not Python's: arguments become tensors of their own kind.)

import triton
import triton.language as tl


@triton.jit
def tap_of(step, AXIS_H: tl.constexpr, AXIS_W: tl.constexpr, TAPS_W: tl.constexpr):
    """A step of the flat loop over blocks of channels and taps: the axes' taps, the filters' tap, and the block.

    Taps are inside, so that neighbouring ones, which read nearly the same pixels, share what is in the L1 cache.
    """
    i_h = step % (AXIS_H[0] * AXIS_W[0]) // AXIS_W[0]
    i_w = step % AXIS_W[0]
    tap = (AXIS_H[1] + AXIS_H[2] * i_h) * TAPS_W + AXIS_W[1] + AXIS_W[2] * i_w
    return i_h, i_w, tap, step // (AXIS_H[0] * AXIS_W[0])


@triton.jit
def multiply_add(x, f, y, PIXELS_LEFT: tl.constexpr, PRECISION: tl.constexpr):
    """y plus the product of pixels x (pixels, channels) and filters f (O, channels), either side left."""
    if PIXELS_LEFT:
        y = tl.dot(x, tl.trans(f), y, input_precision=PRECISION)
    else:
        y = tl.dot(f, tl.trans(x), y, input_precision=PRECISION)
    return y


@triton.jit
def _in_map(h, w, height, width):
    return ((h >= 0) & (h < height) & (w >= 0) & (w < width))[:, None]


@triton.jit
def _inside(pixels, c, channels, MASKED: tl.constexpr, THROUGH_L1: tl.constexpr):
    """Which numbers of a tile there are: pixels (n, 1), and channels where they do not fill the blocks (MASKED).

    THROUGH_L1 is true for all channels, but known to the compiler in groups of 4 only, so that copies of 16-bit numbers
    have 8 bytes: Triton (up to 3.8) sends asynchronous copies of 16 past the L1 cache and those of 8 through it.
    """
    if MASKED:
        inside = pixels & (c < channels)[None, :]
    elif THROUGH_L1:
        inside = pixels & (c < channels + 4 * tl.program_id(0))[None, :]
    else:
        inside = pixels
    return inside


@triton.jit
def convolve(
    source,
    filters,
    target,
    source_h,
    source_w,
    source_channels,
    target_h,
    target_w,
    target_channels,
    source_stride,
    target_stride,
    tap_stride,
    filter_size,
    AXIS_H: tl.constexpr,
    AXIS_W: tl.constexpr,
    TAPS_W: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_TARGET: tl.constexpr,
    BLOCK_SOURCE: tl.constexpr,
    SOURCE_BLOCKS: tl.constexpr,
    MASKED: tl.constexpr,
    PIXELS_LEFT: tl.constexpr,
    THROUGH_L1: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Maps by filters (B, filter_size) with strides for channels and taps; axes as implicit_gemm.Axis."""
    tiles = tl.cdiv(AXIS_H[8] * AXIS_W[8], BLOCK_PIXELS)
    tiles_o = tl.cdiv(target_channels, BLOCK_TARGET)
    image = (tl.program_id(0) // (tiles * tiles_o)).to(tl.int64)
    position = tl.program_id(0) // tiles_o % tiles * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    j_h, j_w = position // AXIS_W[8], position % AXIS_W[8]
    o = tl.program_id(0) % tiles_o * BLOCK_TARGET + tl.arange(0, BLOCK_TARGET)
    c = tl.arange(0, BLOCK_SOURCE)
    # 32-bit offsets and one moving pointer: pointers that move would take twice the registers.
    first_h, first_w = j_h * AXIS_H[4] + AXIS_H[5], j_w * AXIS_W[4] + AXIS_W[5]
    pixels = (first_h * source_w + first_w)[:, None] * source_channels + c[None, :]
    weights = o[:, None] * target_stride + c[None, :] * source_stride
    source += image * source_h * source_w * source_channels
    y = tl.zeros((BLOCK_PIXELS, BLOCK_TARGET) if PIXELS_LEFT else (BLOCK_TARGET, BLOCK_PIXELS), tl.float32)
    # One flat loop, so that the loads of the next steps are under way.
    for step in range(SOURCE_BLOCKS * AXIS_H[0] * AXIS_W[0]):
        i_h, i_w, tap, block = tap_of(step, AXIS_H, AXIS_W, TAPS_W)
        in_map = _in_map(first_h + i_h * AXIS_H[3], first_w + i_w * AXIS_W[3], source_h, source_w)
        left = source_channels - block * BLOCK_SOURCE
        x = source + (i_h * AXIS_H[3] * source_w + i_w * AXIS_W[3]) * source_channels + block * BLOCK_SOURCE + pixels
        f = filters + image * filter_size + tap * tap_stride + block * BLOCK_SOURCE * source_stride + weights
        x = tl.load(x, _inside(in_map, c, left, MASKED, THROUGH_L1), 0.0)
        f = tl.load(f, (o < target_channels)[:, None] & (c < left)[None, :], 0.0) if MASKED else tl.load(f)
        y = multiply_add(x, f, y, PIXELS_LEFT, PRECISION)
    y = y if PIXELS_LEFT else tl.trans(y)
    place = (j_h * AXIS_H[6] + AXIS_H[7]) * target_w + j_w * AXIS_W[6] + AXIS_W[7]
    inside = (position < AXIS_H[8] * AXIS_W[8])[:, None] & (o < target_channels)[None, :]
    target += image * target_h * target_w * target_channels
    tl.store(target + place[:, None] * target_channels + o[None, :], y, inside)


@triton.jit
def correlate(
    x,
    grad,
    grad_filters,
    x_h,
    x_w,
    x_channels,
    grad_pixels,
    grad_channels,
    GRAD_W: tl.constexpr,
    AXIS_H: tl.constexpr,
    AXIS_W: tl.constexpr,
    TAPS: tl.constexpr,
    TAPS_W: tl.constexpr,
    TAPS_TOGETHER: tl.constexpr,
    BLOCK_PIXELS: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    MASKED: tl.constexpr,
    THROUGH_L1: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradient of each image's filters; a program sums a tile of some taps over the pixels of one image.

    x (B, H, W, C), grad (B, H', GRAD_W, O) -> (B, O, TAPS, C). An axis is (step, tap move, shift): tap t reads pixel
    step * q + tap move * t + shift at q. TAPS_TOGETHER taps, a divisor of TAPS, share what they load of grad.
    """
    PARTS: tl.constexpr = TAPS // TAPS_TOGETHER
    tiles_c = tl.cdiv(x_channels, BLOCK_C)
    tile = tl.program_id(0) // PARTS % (tl.cdiv(grad_channels, BLOCK_O) * tiles_c)
    image = (tl.program_id(0) // PARTS // (tl.cdiv(grad_channels, BLOCK_O) * tiles_c)).to(tl.int64)
    first_tap = tl.program_id(0) % PARTS * TAPS_TOGETHER
    o = tile // tiles_c * BLOCK_O + tl.arange(0, BLOCK_O)
    c = tile % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)
    x += image * x_h * x_w * x_channels
    grad += image * grad_pixels * grad_channels
    sums = ()
    for _ in tl.static_range(TAPS_TOGETHER):
        sums += (tl.zeros((BLOCK_O, BLOCK_C), tl.float32),)
    for start in range(0, grad_pixels, BLOCK_PIXELS):
        pixel = start + tl.arange(0, BLOCK_PIXELS)
        is_pixel = (pixel < grad_pixels)[:, None]
        in_grad = _inside(is_pixel, o, grad_channels, MASKED, False)
        above = tl.load(grad + pixel[:, None] * grad_channels + o[None, :], in_grad, 0.0)
        updated = ()
        for t in tl.static_range(TAPS_TOGETHER):
            h = pixel // GRAD_W * AXIS_H[0] + AXIS_H[2] + (first_tap + t) // TAPS_W * AXIS_H[1]
            w = pixel % GRAD_W * AXIS_W[0] + AXIS_W[2] + (first_tap + t) % TAPS_W * AXIS_W[1]
            in_x = _inside(is_pixel & _in_map(h, w, x_h, x_w), c, x_channels, MASKED, THROUGH_L1)
            below = tl.load(x + (h * x_w + w)[:, None] * x_channels + c[None, :], in_x, 0.0)
            updated += (tl.dot(tl.trans(above), below, sums[t], input_precision=PRECISION),)
        sums = updated
    inside = (o < grad_channels)[:, None] & (c < x_channels)[None, :]
    grad_filters += image * grad_channels * TAPS * x_channels
    for t in tl.static_range(TAPS_TOGETHER):
        place = (o[:, None] * TAPS + first_tap + t) * x_channels + c[None, :]
        tl.store(grad_filters + place, sums[t], inside)
