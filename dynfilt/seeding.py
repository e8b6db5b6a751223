"""Randomness by counter: a generator is a pure function of what it is for, never of what was drawn before."""

import hashlib

import torch

Counter = int | str


def seeded_generator(device: torch.device | str, *counters: Counter) -> torch.Generator:
    """Generator on `device` whose state depends on the counters alone, e.g. `("cpu", seed, "order", epoch)`.

    The seed is the first 63 bits of SHA-256 over the counters, so neighbouring counters give unrelated
    streams. An integer and a string of the same digits are different counters. (torch's CPU generator uses
    the lower 32 bits of a seed only.)
    """
    return torch.Generator(device).manual_seed(_seed(counters))


def _seed(counters: tuple[Counter, ...]) -> int:
    assert counters, "a generator needs at least one counter"
    assert all(type(counter) in (int, str) for counter in counters), counters
    digest = hashlib.sha256(repr(counters).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
