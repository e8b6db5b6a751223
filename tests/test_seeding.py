import hashlib

import pytest
import torch

from dynfilt.seeding import global_settings_kept, seed_global_generators, seeded_generator


def draws(*counters: int | str) -> list[int]:
    return torch.randint(2**31, (8,), generator=seeded_generator("cpu", *counters)).tolist()


def test_the_same_counters_give_the_same_stream_whatever_was_drawn_between() -> None:
    first = draws(7, "order", 3)
    draws(8, "order", 3)
    torch.rand(100)
    assert draws(7, "order", 3) == first


def test_each_counter_matters() -> None:
    streams = [draws(0, "order", 0), draws(1, "order", 0), draws(0, "augment", 0), draws(0, "order", 1)]
    assert len({tuple(stream) for stream in streams}) == 4


@pytest.mark.parametrize(
    ("one", "other"), [((1, 23), (12, 3)), (("ab",), ("a", "b")), ((1,), ("1",)), (("a", 1), (1, "a"))]
)
def test_counters_that_read_alike_when_joined_stay_apart(one: tuple, other: tuple) -> None:
    assert draws(*one) != draws(*other)


def test_the_seed_is_63_bits_of_sha256() -> None:
    digest = hashlib.sha256(b"(3, 'order', 5)").hexdigest()
    assert seeded_generator("cpu", 3, "order", 5).initial_seed() == int(digest[:16], 16) // 2


def test_the_global_stream_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draws(1, "order", 2)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("counter", [1.0, True, None, (1,)])
def test_other_types_are_no_counters(counter: object) -> None:
    with pytest.raises(AssertionError):
        seeded_generator("cpu", counter)  # type: ignore[arg-type]


def test_the_global_stream_is_a_function_of_the_counters() -> None:
    drawn = []
    for counters in ((0, "step", 1), (0, "step", 2), (0, "step", 1)):
        seed_global_generators(torch.device("cpu"), *counters)
        drawn.append(torch.rand(5))
        torch.manual_seed(seeded_generator("cpu", *counters).initial_seed())
        assert torch.equal(torch.rand(5), drawn[-1])
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_what_a_job_does_to_torch_ends_with_it() -> None:
    with pytest.raises(RuntimeError, match="broken"), global_settings_kept():
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True, warn_only=True)
        raise RuntimeError("broken")
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()
    assert not torch.are_deterministic_algorithms_enabled()
