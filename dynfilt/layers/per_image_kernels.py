"""Triton kernels for per-image filters: mixtures of K kernels, and convolutions as implicit GEMMs of any geometry.

Maps are (B, H, W, channels), filters (B, O, taps, C), the memory of channels-last tensors. Sums are in float32 and in
one order. Offsets within one image are 32 bits wide, those of images 64. Importing this module imports triton.
"""

# mypy: ignore-errors
# (Triton's language, not Python's: arguments become tensors of their own kind.)

import triton
import triton.language as tl


@triton.jit
def mix(pi, bank, filters, batch, size, KERNELS: tl.constexpr, BLOCK: tl.constexpr, IMAGES: tl.constexpr):
    """filters[b] = sum_k pi[b, k] bank[k]: pi (B, K), bank (K, size), filters (B, size)."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = e < size
    kernels = ()
    for k in tl.static_range(KERNELS):
        kernels += (tl.load(bank + k * size + e, inside, 0.0).to(tl.float32),)
    first = tl.program_id(1) * IMAGES
    pi += first * KERNELS
    filters += first.to(tl.int64) * size
    for _ in range(tl.minimum(IMAGES, batch - first)):
        mixed = tl.load(pi) * kernels[0]
        for k in tl.static_range(1, KERNELS):
            mixed += tl.load(pi + k) * kernels[k]
        tl.store(filters + e, mixed, inside)
        pi += KERNELS
        filters += size


@triton.jit
def unmix(
    grad,
    pi,
    bank,
    grad_pi,
    grad_bank,
    batch,
    images,
    size,
    KERNELS: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """The gradients of `mix`, its own in grad (B, size) read once, by `images` images and BLOCK numbers a program.

    grad_pi[block, b, k] = sum of grad[b] bank[k] over the block; grad_bank[slice, k] = sum_b pi[b, k] grad[b].
    """
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = e < size
    kernels = ()
    sums = ()
    for k in tl.static_range(KERNELS):
        kernels += (tl.load(bank + k * size + e, inside, 0.0).to(tl.float32),)
        sums += (tl.zeros((ROWS, BLOCK), tl.float32),)
    first = tl.program_id(1) * images
    last = tl.minimum(first + images, batch)
    for start in tl.range(first, last, ROWS, num_stages=4):  # without a product, stages are not the default
        b = start + tl.arange(0, ROWS)
        place = b.to(tl.int64)[:, None] * size + e[None, :]
        rows = tl.load(grad + place, (b < last)[:, None] & inside[None, :], 0.0).to(tl.float32)
        updated = ()
        for k in tl.static_range(KERNELS):
            weight = tl.load(pi + b * KERNELS + k, b < last, 0.0)
            updated += (sums[k] + weight[:, None] * rows,)
            target = grad_pi + (tl.program_id(0) * batch + b) * KERNELS + k
            tl.store(target, tl.sum(rows * kernels[k][None, :], 1), b < last)
        sums = updated
    for k in tl.static_range(KERNELS):
        row = (tl.program_id(1) * KERNELS + k).to(tl.int64)
        tl.store(grad_bank + row * size + e, tl.sum(sums[k], 0), inside)


@triton.jit
def _tap_of(step, AXIS_H: tl.constexpr, AXIS_W: tl.constexpr, TAPS_W: tl.constexpr):
    """A step of the flat loop over blocks of channels and taps: the axes' taps, the filters' tap, and the block.

    Taps are inside, so that neighbouring ones, which read nearly the same pixels, share what is in the L1 cache.
    """
    i_h = step % (AXIS_H[0] * AXIS_W[0]) // AXIS_W[0]
    i_w = step % AXIS_W[0]
    tap = (AXIS_H[1] + AXIS_H[2] * i_h) * TAPS_W + AXIS_W[1] + AXIS_W[2] * i_w
    return i_h, i_w, tap, step // (AXIS_H[0] * AXIS_W[0])


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
    PRECISION: tl.constexpr,
):
    """Maps by filters (B, filter_size) with strides for channels and taps; axes as per_image.Axis."""
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
    y = tl.zeros((BLOCK_PIXELS, BLOCK_TARGET), tl.float32)
    # One flat loop, so that the loads of the next steps are under way.
    for step in range(SOURCE_BLOCKS * AXIS_H[0] * AXIS_W[0]):
        i_h, i_w, tap, block = _tap_of(step, AXIS_H, AXIS_W, TAPS_W)
        in_map = _in_map(first_h + i_h * AXIS_H[3], first_w + i_w * AXIS_W[3], source_h, source_w)
        left = source_channels - block * BLOCK_SOURCE
        x = source + (i_h * AXIS_H[3] * source_w + i_w * AXIS_W[3]) * source_channels + block * BLOCK_SOURCE + pixels
        f = filters + image * filter_size + tap * tap_stride + block * BLOCK_SOURCE * source_stride + weights
        x = tl.load(x, _inside(in_map, c, left, MASKED, False), 0.0)
        f = tl.load(f, (o < target_channels)[:, None] & (c < left)[None, :], 0.0) if MASKED else tl.load(f)
        y = tl.dot(x, tl.trans(f), y, input_precision=PRECISION)
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
