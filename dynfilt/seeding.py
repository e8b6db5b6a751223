"""Randomness by counter: a generator is a pure function of what it is for, never of what was drawn before. And no job
inherits torch's switches from the one before."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

Counter = int | str


def seeded_generator(device: torch.device | str, *counters: Counter) -> torch.Generator:
    """Generator on `device` whose state depends on the counters alone, e.g. `("cpu", seed, "order", epoch)`.

    The seed is the first 63 bits of SHA-256 over the counters, so neighbouring counters give unrelated
    streams. An integer and a string of the same digits are different counters. (torch's CPU generator uses
    the lower 32 bits of a seed only.)
    """
    return torch.Generator(device).manual_seed(_seed(counters))


def seed_global_generators(device: torch.device, *counters: Counter) -> None:
    """Seed torch's own generators, of the CPU and of `device`, as a function of the counters alone.

    torch.manual_seed does the same for every device there is, and takes 0.1 ms where CUDA has not been used yet.
    """
    seed = _seed(counters)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(seed)


@contextmanager
def global_settings_kept() -> Iterator[None]:
    """Afterwards torch's default dtype, gradients and deterministic algorithms are what they were before."""
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)
        torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])


def _seed(counters: tuple[Counter, ...]) -> int:
    assert counters, "a generator needs at least one counter"
    assert all(type(counter) in (int, str) for counter in counters), counters
    digest = hashlib.sha256(repr(counters).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
