"""Text that reads as a number: 2 and '2' would be two runs of one name."""

from typing import Any

import pytest

from dynfilt.config.checks import check


class Net:
    """Takes arguments of any kind."""

    def __init__(self, width, weights: str = "", until: str | None = None, options: dict[str, Any] | None = None):  # type: ignore[no-untyped-def]
        """Nothing is built."""


def checked(compose: Any, key: str, value: Any) -> None:
    [job] = compose("tracking=off")
    model = {"_target_": f"{__name__}.Net", "width": 1, key: value}
    check({**job.config, "model": model}, job.choices)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", "2"),
        ("width", "2e1"),
        ("width", "true"),
        ("width", "[1,2]"),
        ("until", "null"),
        ("options", {"k": "2"}),
    ],
)
def test_quotes_around_what_would_do_without_are_refused(key: str, value: Any, compose: Any) -> None:
    name = "model.options.k" if key == "options" else f"model.{key}"
    with pytest.raises(ValueError, match=rf"^{name}='.*': is text that reads as a value; leave the quotes out"):
        checked(compose, key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", 2), ("width", "wide"), ("width", None), ("weights", "2"), ("until", "2"), ("options", {"k": 2})],
)
def test_text_that_must_be_text_stays(key: str, value: Any, compose: Any) -> None:
    checked(compose, key, value)


def test_a_quoted_seed_is_the_seed(compose: Any) -> None:
    jobs = compose("-m", "seed='1','2'", "tracking=off")
    assert [job.config["seed"] for job in jobs] == [1, 2]
