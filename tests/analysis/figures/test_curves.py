"""What the curves' axes hold: the seeds' own values, the mean, the band, which line is which; what captions say."""

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.drawing import style
from analysis.figures.curves import (
    before_after,
    by_variant,
    caption,
    draw_series,
    frame,
    marked,
    overlay,
    pair_caption,
)
from analysis.figures.series import Series, series
from analysis.reading.metrics import ACCURACY, LOSS, Metric
from tests.analysis.figures.looks import looks

from .conftest import metric_row

LEVELS = {"static": ([0.40, 0.52, 0.60], [0.43, 0.50, 0.63], [0.38, 0.55, 0.58]), "dynamic": ([0.5, 0.6, 0.7],)}
LOOKS = looks(LEVELS)


def made(label: str, metric: Metric = ACCURACY, split: str = "val", scale: float = 1.0) -> Series:
    rows = {
        seed: [
            {key: value * scale if "loss" in key else value for key, value in metric_row(epoch, level).items()}
            for epoch, level in enumerate(levels, start=1)
        ]
        for seed, levels in enumerate(LEVELS[label])
    }
    return series(label, rows, metric, split, "epochs")


def all_series(metric: Metric = ACCURACY) -> list[Series]:
    return [made(label, metric, split) for label in LEVELS for split in ("train", "val")]


def lines(axes: Axes) -> tuple[list[Line2D], list[Line2D]]:
    """The thin ones and the thick ones."""
    drawn = axes.get_lines()
    return [line for line in drawn if line.get_linewidth() < 1], [line for line in drawn if line.get_linewidth() > 1]


def is_dashed(line: Line2D) -> bool:
    return bool(line.is_dashed())


def test_each_seed_is_a_thin_line_through_its_own_values_and_the_mean_a_thick_one(axes: Axes) -> None:
    draw_series(axes, made("static"), LOOKS["static"])
    thin, thick = lines(axes)
    assert [line.get_ydata().tolist() for line in thin] == list(LEVELS["static"])
    (mean,) = thick
    np.testing.assert_allclose(mean.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(mean.get_ydata(), np.mean(LEVELS["static"], axis=0))


def test_the_band_runs_from_the_low_to_the_high_end_of_the_interval(axes: Axes) -> None:
    drawn = made("static")
    draw_series(axes, drawn, LOOKS["static"])
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    for x, low, high in zip(drawn.x, drawn.low, drawn.high, strict=True):
        at_x = corners[corners[:, 0] == x, 1]
        assert at_x.min() == pytest.approx(low) and at_x.max() == pytest.approx(high)


def test_one_seed_is_one_line_without_a_band(axes: Axes) -> None:
    draw_series(axes, made("dynamic"), LOOKS["dynamic"])
    thin, thick = lines(axes)
    assert not thin and not axes.collections
    assert thick[0].get_ydata().tolist() == LEVELS["dynamic"][0]


def test_training_is_dashed_and_validation_solid(axes: Axes) -> None:
    draw_series(axes, made("static", split="train"), LOOKS["static"])
    assert all(is_dashed(line) for line in axes.get_lines())
    axes.clear()
    draw_series(axes, made("static", split="val"), LOOKS["static"])
    assert not any(is_dashed(line) for line in axes.get_lines())


def test_markers_are_few_and_shifted_from_variant_to_variant() -> None:
    places = [marked(200, rank) for rank in range(7)]
    assert all(0 < len(place) <= 5 for place in places)
    assert not set(places[0]) & set(places[1])
    assert marked(1, 3) == [0] and marked(0, 3) == []


def colours(figure: Figure) -> dict[str, set[str]]:
    """Colours of the thick lines, by the variant whose values they show."""
    found: dict[str, set[str]] = {}
    for axes in figure.findobj(Axes):
        for line in lines(axes)[1]:
            label = "dynamic" if line.get_ydata()[-1] in (0.7, 0.75, 0.8, 0.5) else "static"
            found.setdefault(label, set()).add(to_hex(line.get_color()).upper())
    return found


@pytest.mark.parametrize("width", style.WIDTHS)
def test_a_variant_has_one_colour_in_every_figure(width: str) -> None:
    expected = {label: {look.colour} for label, look in LOOKS.items()}
    with style.figure_style():
        assert colours(overlay(all_series(), LOOKS, ACCURACY, "epochs", width)) == expected
        assert colours(by_variant(all_series(), LOOKS, ACCURACY, "epochs", width)) == expected


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text().replace("\xa0", " ") for legend in legends(figure) for text in legend.get_texts()]


def legends(figure: Figure) -> Sequence[object]:
    return [legend for part in figure.subfigs for legend in part.legends]


def test_the_overlay_tells_splits_variants_and_numbers_of_seeds() -> None:
    with style.figure_style():
        figure = overlay(all_series(), LOOKS, ACCURACY, "steps", "page")
    training, validation = figure.findobj(Axes)
    assert training.get_title() == "Training (dashed)" and validation.get_title() == "Validation (solid)"
    assert all(is_dashed(line) for line in training.get_lines())
    assert not any(is_dashed(line) for line in validation.get_lines())
    assert training.get_ylim() == validation.get_ylim()
    assert legend_of(figure) == ["static (n = 3)", "dynamic (n = 1)", "one seed", "95 % t interval"]
    assert figure.subfigs[0].get_supxlabel() == "Step"
    assert figure.subfigs[0].get_supylabel() == "Accuracy (%)"


def test_every_variant_has_a_panel_with_both_splits() -> None:
    with style.figure_style():
        figure = by_variant(all_series(), LOOKS, ACCURACY, "epochs", "column")
    panels = figure.findobj(Axes)
    assert [axes.get_title().replace("\xa0", " ") for axes in panels] == ["static (n = 3)", "dynamic (n = 1)"]
    assert all({is_dashed(line) for line in axes.get_lines()} == {True, False} for axes in panels)
    assert legend_of(figure)[:2] == ["training", "validation"]


def test_before_and_after_share_one_panel_and_say_which_is_which() -> None:
    with style.figure_style():
        figure = before_after(all_series(LOSS), LOOKS, "epochs", "column")
    (axes,) = figure.findobj(Axes)
    thick = lines(axes)[1]
    assert [(to_hex(line.get_color()).upper(), is_dashed(line)) for line in thick] == [
        (LOOKS["static"].colour, True),
        (LOOKS["static"].colour, False),
        (LOOKS["dynamic"].colour, True),
        (LOOKS["dynamic"].colour, False),
    ]
    assert thick[3].get_ydata() == pytest.approx([1.0, 0.9, 0.8])
    assert legend_of(figure)[:4] == [
        "before, training: static (n = 3)",
        "before, validation: static (n = 3)",
        "after, training: dynamic (n = 1)",
        "after, validation: dynamic (n = 1)",
    ]


def test_the_frame_holds_every_line_and_says_when_it_cuts_a_band() -> None:
    shown = [made("static")]
    chosen = frame(shown, ACCURACY)
    assert chosen.low < 0.38 and chosen.high > 0.63 and not chosen.is_logarithmic
    assert chosen.cuts(shown[0].low, shown[0].high) and not chosen.cuts(made("dynamic").low, made("dynamic").high)


@pytest.mark.parametrize(("scale", "logarithmic"), [(30, False), (70, True)])
def test_losses_far_apart_get_a_logarithmic_axis_that_says_so(scale: float, logarithmic: bool) -> None:
    shown = [made("dynamic", LOSS), made("static", LOSS, scale=scale)]
    assert frame(shown, LOSS).is_logarithmic == logarithmic
    with style.figure_style():
        figure = overlay(shown, LOOKS, LOSS, "epochs", "page")
    assert figure.findobj(Axes)[0].get_yscale() == ("log" if logarithmic else "linear")
    assert figure.subfigs[0].get_supylabel().endswith("log scale") == logarithmic


def test_accuracies_and_losses_of_zero_stay_linear() -> None:
    assert not frame([made("static", LOSS, scale=0.0)], LOSS).is_logarithmic
    assert not frame([made("static")], ACCURACY).is_logarithmic


@pytest.mark.parametrize(("width", "inches"), [("column", 3.3), ("page", 7.2)])
def test_figures_have_the_width_asked_for_and_no_text_below_six_points(width: str, inches: float) -> None:
    with style.figure_style():
        figure = overlay(all_series(), LOOKS, ACCURACY, "epochs", width)
        assert figure.get_figwidth() == pytest.approx(inches)
        texts = [text for text in figure.findobj(match=lambda artist: hasattr(artist, "get_fontsize"))]
        assert min(text.get_fontsize() for text in texts) >= 6


def of_seeds(label: str, seeds: int) -> Series:
    rows = {seed: [metric_row(epoch, 0.5 + seed / 100 + epoch / 10) for epoch in (1, 2)] for seed in range(seeds)}
    return series(label, rows, LOSS, "val", "epochs")


def test_a_caption_of_curves_is_honest() -> None:
    told = caption("lab", [of_seeds("static", 3), of_seeds("dynamic", 2)], LOSS, "epochs")
    assert told.startswith("lab: validation loss over epochs.")
    for part in ("n = 2 to 3 seeds", "95 % Student t interval", "cut off", "Nothing is smoothed."):
        assert part in told


def test_a_caption_mentions_nothing_that_is_not_drawn() -> None:
    told = caption("lab", [of_seeds("static", 1)], LOSS, "seconds")
    assert "interval" not in told and "thin lines" not in told and "Training" not in told
    assert "n = 1 seed each, so how much of this is chance is unknown." in told and "seeds' times" in told


def test_a_caption_of_a_pair_says_which_was_first() -> None:
    told = pair_caption("lab", [of_seeds("static", 3), of_seeds("dynamic", 3)], "epochs")
    assert told.startswith("Before: static; after: dynamic. lab: ") and "n = 3 seeds each." in told
