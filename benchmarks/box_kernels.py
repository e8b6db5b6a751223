"""Triton kernels for a filter for each image by Hopper's copies of boxes, which are 0 outside of a map and write no
pixel there.

Arguments are tensor descriptors. A map is (B, rows, step, columns, step * channels): pixels a step apart, those that
a tap reads or one kind of pixel that is written, are a box. Filters are (B, O, taps, C). Sums are in float32 and in one
order. Importing this module imports triton.
"""

# mypy: ignore-errors
# (Triton's language, not Python's: arguments become tensors of their own kind.)

import triton
import triton.language as tl

from benchmarks.pixel_kernels import multiply_add, tap_of


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
    """Maps by filters; a program computes a box of positions of one image; axes as implicit_gemm.Axis."""
    PIXELS: tl.constexpr = BLOCK_ROWS * BLOCK_COLUMNS
    columns = tl.cdiv(AXIS_W[8], BLOCK_COLUMNS)
    boxes = tl.cdiv(AXIS_H[8], BLOCK_ROWS) * columns
    tiles_o = tl.cdiv(target_channels, BLOCK_TARGET)
    box = tl.program_id(0) // tiles_o
    image = box // boxes
    row, column = box % boxes // columns * BLOCK_ROWS, box % columns * BLOCK_COLUMNS
    o = tl.program_id(0) % tiles_o * BLOCK_TARGET
    y = tl.zeros((PIXELS, BLOCK_TARGET) if PIXELS_LEFT else (BLOCK_TARGET, PIXELS), tl.float32)
    # One flat loop, so that the copies of the next steps are under way.
    for step in range(SOURCE_BLOCKS * AXIS_H[0] * AXIS_W[0]):
        i_h, i_w, tap, block = tap_of(step, AXIS_H, AXIS_W, TAPS_W)
        down, h = _split(AXIS_H[5] + AXIS_H[3] * i_h, AXIS_H[4])
        right, w = _split(AXIS_W[5] + AXIS_W[3] * i_w, AXIS_W[4])
        c = block * BLOCK_SOURCE
        x = source.load([image, row + down, h, column + right, w * source_channels + c]).reshape(PIXELS, BLOCK_SOURCE)
        if FORWARD:
            f = filters.load([image, o, tap, c]).reshape(BLOCK_TARGET, BLOCK_SOURCE)
        else:
            f = tl.trans(filters.load([image, c, tap, o]).reshape(BLOCK_SOURCE, BLOCK_TARGET))
        y = multiply_add(x, f, y, PIXELS_LEFT, PRECISION)
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
    """The gradient of each image's filters, of ROWS_TOGETHER rows of taps a program; axes as in pixel_kernels.

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
