"""Triton kernels for filters that differ by image: mixtures of K kernels, and convolutions as implicit GEMMs.

Maps are (B, H, W, channels), filters (B, O, taps, C), the memory of channels-last tensors. Sums are in float32 and
in one order. Offsets within one image are 32 bits wide, those of images 64. Importing this module imports triton.
"""

# mypy: ignore-errors
# (Triton's language, not Python's: arguments become tensors of their own kind.)

import triton
import triton.language as tl

# With TRITON_INTERPRET=1 at import the kernels run as NumPy on any device, for tests.
INTERPRETED = triton.knobs.runtime.interpret


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
def _always(c, channels):
    """True for each channel, but for Triton only in groups of 4: so that copies of 16-bit numbers have 8 bytes.

    Triton (up to 3.8) sends asynchronous copies of 16 bytes past the L1 cache, those of 8 through it, where the
    neighbouring taps of a convolution find most of their pixels.
    """
    return c < channels + 4 * tl.program_id(0)


@triton.jit
def convolve(
    source,
    filters,
    target,
    source_h,
    source_w,
    source_channels,
    target_w,
    target_pixels,
    target_channels,
    positions_w,
    positions,
    source_stride,
    tap_stride,
    target_stride,
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
    """Each image convolved with its own filters; a program computes a tile of positions and channels of one image.

    source (B, H, W, channels), filters (B, filter_size) with strides for taps and channels -> target. An axis is
    (taps, first tap, tap step, tap move, source step, source shift, target step, target shift): position j is pixel
    target step * j + target shift of the target, to which tap `first tap + tap step * i` brings pixel
    source step * j + source shift + tap move * i of the source. MASKED: channels do not fill their blocks.
    """
    COUNT_W: tl.constexpr = AXIS_W[0]
    TAPS: tl.constexpr = AXIS_H[0] * COUNT_W
    tiles = tl.cdiv(positions, BLOCK_PIXELS)
    tiles_o = tl.cdiv(target_channels, BLOCK_TARGET)
    image = (tl.program_id(0) // (tiles * tiles_o)).to(tl.int64)
    position = tl.program_id(0) // tiles_o % tiles * BLOCK_PIXELS + tl.arange(0, BLOCK_PIXELS)
    position_h = position // positions_w
    position_w = position % positions_w
    first_h = position_h * AXIS_H[4] + AXIS_H[5]
    first_w = position_w * AXIS_W[4] + AXIS_W[5]
    o = tl.program_id(0) % tiles_o * BLOCK_TARGET + tl.arange(0, BLOCK_TARGET)
    c = tl.arange(0, BLOCK_SOURCE)
    source += image * source_h * source_w * source_channels
    filters += image * filter_size
    # 32-bit offsets and one moving pointer: pointers that move would take twice the registers.
    pixels = (first_h * source_w + first_w)[:, None] * source_channels + c[None, :]
    weights = o[:, None] * target_stride + c[None, :] * source_stride
    half = _always(c, source_channels)[None, :]
    y = tl.zeros((BLOCK_PIXELS, BLOCK_TARGET) if PIXELS_LEFT else (BLOCK_TARGET, BLOCK_PIXELS), tl.float32)
    # One flat loop, so that the loads of the next steps are under way; taps inside, so that they share the L1 cache.
    for step in range(SOURCE_BLOCKS * TAPS):
        i_h = step % TAPS // COUNT_W
        i_w = step % COUNT_W
        block = step // TAPS * BLOCK_SOURCE
        h = first_h + i_h * AXIS_H[3]
        w = first_w + i_w * AXIS_W[3]
        there = ((h >= 0) & (h < source_h) & (w >= 0) & (w < source_w))[:, None]
        x_move = source + (i_h * AXIS_H[3] * source_w + i_w * AXIS_W[3]) * source_channels + block
        tap = (AXIS_H[1] + AXIS_H[2] * i_h) * TAPS_W + AXIS_W[1] + AXIS_W[2] * i_w
        f_move = filters + tap * tap_stride + block * source_stride
        if MASKED:
            is_channel = (c < source_channels - block)[None, :]
            x = tl.load(x_move + pixels, there & is_channel, 0.0)
            f = tl.load(f_move + weights, (o < target_channels)[:, None] & is_channel, 0.0)
        else:
            x = tl.load(x_move + pixels, there & half if THROUGH_L1 else there, 0.0)
            f = tl.load(f_move + weights)
        if PIXELS_LEFT:
            y = tl.dot(x, tl.trans(f), y, input_precision=PRECISION)
        else:
            y = tl.dot(f, tl.trans(x), y, input_precision=PRECISION)
    y = y if PIXELS_LEFT else tl.trans(y)
    place = (position_h * AXIS_H[6] + AXIS_H[7]) * target_w + position_w * AXIS_W[6] + AXIS_W[7]
    target += image * target_pixels * target_channels
    inside = (position < positions)[:, None] & (o < target_channels)[None, :]
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
    tiles_c = tl.cdiv(x_channels, BLOCK_C)
    tiles = tl.cdiv(grad_channels, BLOCK_O) * tiles_c * (TAPS // TAPS_TOGETHER)
    image = (tl.program_id(0) // tiles).to(tl.int64)
    tile = tl.program_id(0) % tiles
    first_tap = tile % (TAPS // TAPS_TOGETHER) * TAPS_TOGETHER
    tile = tile // (TAPS // TAPS_TOGETHER)
    o = tile // tiles_c * BLOCK_O + tl.arange(0, BLOCK_O)
    c = tile % tiles_c * BLOCK_C + tl.arange(0, BLOCK_C)
    x += image * x_h * x_w * x_channels
    grad += image * grad_pixels * grad_channels
    half = _always(c, x_channels)[None, :]
    sums = ()
    for _ in tl.static_range(TAPS_TOGETHER):
        sums += (tl.zeros((BLOCK_O, BLOCK_C), tl.float32),)
    for start in range(0, grad_pixels, BLOCK_PIXELS):
        pixel = start + tl.arange(0, BLOCK_PIXELS)
        is_pixel = pixel < grad_pixels
        first_h = pixel // GRAD_W * AXIS_H[0] + AXIS_H[2]
        first_w = pixel % GRAD_W * AXIS_W[0] + AXIS_W[2]
        in_grad = is_pixel[:, None] & (o < grad_channels)[None, :] if MASKED else is_pixel[:, None]
        above = tl.load(grad + pixel[:, None] * grad_channels + o[None, :], in_grad, 0.0)
        updated = ()
        for t in tl.static_range(TAPS_TOGETHER):
            h = first_h + (first_tap + t) // TAPS_W * AXIS_H[1]
            w = first_w + (first_tap + t) % TAPS_W * AXIS_W[1]
            in_x = (is_pixel & (h >= 0) & (h < x_h) & (w >= 0) & (w < x_w))[:, None]
            if MASKED:
                in_x = in_x & (c < x_channels)[None, :]
            elif THROUGH_L1:
                in_x = in_x & half
            below = tl.load(x + (h * x_w + w)[:, None] * x_channels + c[None, :], in_x, 0.0)
            updated += (tl.dot(tl.trans(above), below, sums[t], input_precision=PRECISION),)
        sums = updated
    inside = (o < grad_channels)[:, None] & (c < x_channels)[None, :]
    grad_filters += image * grad_channels * TAPS * x_channels
    for t in tl.static_range(TAPS_TOGETHER):
        place = (o[:, None] * TAPS + first_tap + t) * x_channels + c[None, :]
        tl.store(grad_filters + place, sums[t], inside)


@triton.jit
def _split(pixel, STEP: tl.constexpr):
    """Which group of STEP pixels, also for negative ones, and which of the group."""
    group = (pixel + STEP * 65536) // STEP - 65536
    return group, pixel - group * STEP


@triton.jit
def convolve_boxes(
    source,
    filters,
    target,
    source_channels,
    target_channels,
    row_blocks,
    column_blocks,
    AXIS_H: tl.constexpr,
    AXIS_W: tl.constexpr,
    TAPS_W: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_TARGET: tl.constexpr,
    BLOCK_SOURCE: tl.constexpr,
    SOURCE_BLOCKS: tl.constexpr,
    FORWARD: tl.constexpr,
    PIXELS_LEFT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """`convolve` by Hopper's copies of boxes, which give 0 outside of a map and write nothing there.

    source, filters and target are tensor descriptors; a map's is (B, rows, step, columns, step * channels), where a
    step's pixels stand apart: those that one tap reads, or one kind of pixel that is written, are a box.
    """
    COUNT_W: tl.constexpr = AXIS_W[0]
    TAPS: tl.constexpr = AXIS_H[0] * COUNT_W
    PIXELS: tl.constexpr = BLOCK_ROWS * BLOCK_COLUMNS
    tiles_o = tl.cdiv(target_channels, BLOCK_TARGET)
    tile = tl.program_id(0) // tiles_o
    image = tile // (row_blocks * column_blocks)
    row = tile // column_blocks % row_blocks * BLOCK_ROWS
    column = tile % column_blocks * BLOCK_COLUMNS
    o = tl.program_id(0) % tiles_o * BLOCK_TARGET
    y = tl.zeros((PIXELS, BLOCK_TARGET) if PIXELS_LEFT else (BLOCK_TARGET, PIXELS), tl.float32)
    for step in range(SOURCE_BLOCKS * TAPS):
        i_h = step % TAPS // COUNT_W
        i_w = step % COUNT_W
        c = step // TAPS * BLOCK_SOURCE
        down, h = _split(AXIS_H[5] + AXIS_H[3] * i_h, AXIS_H[4])
        right, w = _split(AXIS_W[5] + AXIS_W[3] * i_w, AXIS_W[4])
        tap = (AXIS_H[1] + AXIS_H[2] * i_h) * TAPS_W + AXIS_W[1] + AXIS_W[2] * i_w
        x = source.load([image, row + down, h, column + right, w * source_channels + c]).reshape(PIXELS, BLOCK_SOURCE)
        if FORWARD:
            f = filters.load([image, o, tap, c]).reshape(BLOCK_TARGET, BLOCK_SOURCE)
        else:
            f = tl.trans(filters.load([image, c, tap, o]).reshape(BLOCK_SOURCE, BLOCK_TARGET))
        if PIXELS_LEFT:
            y = tl.dot(x, tl.trans(f), y, input_precision=PRECISION)
        else:
            y = tl.dot(f, tl.trans(x), y, input_precision=PRECISION)
    y = y if PIXELS_LEFT else tl.trans(y)
    y = y.to(target.dtype).reshape(1, BLOCK_ROWS, 1, BLOCK_COLUMNS, BLOCK_TARGET)
    target.store([image, row, AXIS_H[7], column, AXIS_W[7] * target_channels + o], y)


@triton.jit
def correlate_boxes(
    x,
    grad,
    grad_filters,
    x_channels,
    grad_channels,
    rows,
    columns,
    AXIS_H: tl.constexpr,
    AXIS_W: tl.constexpr,
    TAPS_H: tl.constexpr,
    TAPS_W: tl.constexpr,
    ROWS_TOGETHER: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    BLOCK_O: tl.constexpr,
    BLOCK_C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """`correlate` by copies of boxes, of ROWS_TOGETHER rows of taps; descriptors as in `convolve_boxes`.

    The sum runs over the rows of x, so that at a step of 1 the taps of a column share what they load of x, and those
    of a row what they load of grad.
    """
    PIXELS: tl.constexpr = BLOCK_ROWS * BLOCK_COLUMNS
    PARTS: tl.constexpr = TAPS_H // ROWS_TOGETHER
    tiles_c = tl.cdiv(x_channels, BLOCK_C)
    tiles = tl.cdiv(grad_channels, BLOCK_O) * tiles_c
    first = tl.program_id(0) % PARTS * ROWS_TOGETHER
    tile = tl.program_id(0) // PARTS % tiles
    image = tl.program_id(0) // (PARTS * tiles)
    o = tile // tiles_c * BLOCK_O
    c = tile % tiles_c * BLOCK_C
    sums = ()
    for _ in tl.static_range(ROWS_TOGETHER * TAPS_W):
        sums += (tl.zeros((BLOCK_O, BLOCK_C), tl.float32),)
    blocks = tl.cdiv(columns, BLOCK_COLUMNS)
    for step in range(tl.cdiv(rows, BLOCK_ROWS) * blocks):
        row = step // blocks * BLOCK_ROWS
        column = step % blocks * BLOCK_COLUMNS
        below = ()
        updated = ()
        for s in tl.static_range(ROWS_TOGETHER):
            down, h = _split((first + s) * AXIS_H[1] + AXIS_H[2], AXIS_H[0])
            if s == 0 or AXIS_H[0] > 1:
                below = ()
                for t in tl.static_range(TAPS_W):
                    right, w = _split(t * AXIS_W[1] + AXIS_W[2], AXIS_W[0])
                    box = x.load([image, row, h, column + right, w * x_channels + c])
                    below += (box.reshape(PIXELS, BLOCK_C),)
            above = grad.load([image, row - down, column, o]).reshape(PIXELS, BLOCK_O)
            for t in tl.static_range(TAPS_W):
                updated += (tl.dot(tl.trans(above), below[t], sums[s * TAPS_W + t], input_precision=PRECISION),)
        sums = updated
    for s in tl.static_range(ROWS_TOGETHER):
        for t in tl.static_range(TAPS_W):
            total = sums[s * TAPS_W + t].to(grad_filters.dtype).reshape(1, BLOCK_O, 1, BLOCK_C)
            grad_filters.store([image, o, (first + s) * TAPS_W + t, c], total)
