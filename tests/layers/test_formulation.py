"""Forcing a formulation: nested, given back after an exception, refused when unknown."""

import pytest

from dynfilt.layers.formulation import FORMULATIONS, force_formulation, forced_among


def test_a_forced_formulation_ends_with_its_block() -> None:
    with pytest.raises(KeyError), force_formulation("grouped"):
        with force_formulation("taps"):
            assert forced_among(FORMULATIONS) == "taps"
        assert forced_among(FORMULATIONS) == "grouped"
        raise KeyError
    assert forced_among(FORMULATIONS) == "auto"


def test_what_does_not_apply_is_left_to_the_choice() -> None:
    with force_formulation("taps"):
        assert forced_among(("grouped", "chunked")) is None


def test_an_unknown_formulation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'fft'.*auto, grouped"), force_formulation("fft"):
        pass
    assert forced_among(FORMULATIONS) == "auto"
