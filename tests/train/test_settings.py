import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dynfilt.config.errors import explain
from dynfilt.seeding import global_settings_kept
from dynfilt.train.settings import resolve_device

POSITIVE = ("epochs", "batch_size", "eval_batch_size", "evaluate_every_epochs", "checkpoint_every_seconds")
POSITIVE_OR_NULL = ("clip_gradient_norm", "patience", "max_steps", "max_eval_images", "evaluate_every_steps")


@pytest.mark.parametrize("key", [*POSITIVE, *POSITIVE_OR_NULL])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_a_value_out_of_range_is_refused_by_name(key: str, value: float, settings: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=rf"^trainer\.{key}={value}: must be a number > 0") as error:
        settings(**{key: value})
    assert ("null for none" in str(error.value)) == (key in POSITIVE_OR_NULL)
    assert "\n" not in str(error.value)


def test_null_and_fractions_are_fine(settings: Callable[..., Any]) -> None:
    settings(epochs=0.1, evaluate_every_epochs=0.5, **dict.fromkeys(POSITIVE_OR_NULL))


def test_bfloat16_is_autocast_and_float32_is_not(settings: Callable[..., Any]) -> None:
    x = torch.ones(2, 2)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with settings(precision=precision).autocast(torch.device("cpu")):
            assert (x @ x).dtype == dtype


def test_channels_last_is_a_memory_format(settings: Callable[..., Any]) -> None:
    assert settings(channels_last=True).memory_format == torch.channels_last
    assert settings(channels_last=False).memory_format == torch.contiguous_format


def test_deterministic_is_what_torch_calls_so_and_an_operation_without_it_is_one_line(
    settings: Callable[..., Any],
) -> None:
    x = torch.zeros(3)
    with global_settings_kept():
        settings(deterministic=True).set_arithmetic(torch.device("cpu"))
        assert torch.are_deterministic_algorithms_enabled()
        with pytest.raises(RuntimeError) as error:
            x.put_(torch.tensor([0]), torch.ones(1))  # has none, on a CPU either
    assert not torch.are_deterministic_algorithms_enabled()
    assert explain(error.value) == (
        "trainer.deterministic=true: put_ has no deterministic implementation in torch; choose "
        "trainer.deterministic=false or a model without it"
    )


@pytest.mark.parametrize(
    ("name", "count", "device"),
    [
        ("cpu", 2, "cpu"),
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:1"),
        ("cuda", 1, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_a_device_that_is_there(name: str, count: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert resolve_device(name) == torch.device(device)


@pytest.mark.parametrize(
    ("name", "count", "problem", "allowed"),
    [
        ("cuda", 0, "no such CUDA device here", "auto, cpu"),
        ("cuda:2", 2, "no such CUDA device here", "auto, cpu, cuda, cuda:0, cuda:1"),
        ("tpu", 1, "unknown device", "auto, cpu, cuda, cuda:0"),
        ("CPU", 0, "unknown device", "auto, cpu"),
    ],
)
def test_a_device_that_is_not_there(
    name: str, count: int, problem: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError) as error:
        resolve_device(name)
    assert str(error.value) == f"trainer.device={name}: {problem}; allowed on this machine: {allowed}"
