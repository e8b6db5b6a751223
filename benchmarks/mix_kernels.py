"""Triton kernels for mixtures of K kernels: one for each image, and the gradients of both factors.

All filters are rows of numbers in the memory order of channels-last tensors. Sums are in float32 and in one order.
Importing this module imports triton.
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
