"""Rows chosen and ordered; statistics stay those of all rows."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.__main__ import main
from analysis.comparing.arrangement import PLAIN, Layout
from analysis.tables.columns import chosen
from analysis.tables.command import Presentation, table
from tests.analysis.tables.studies import ACCURACIES

WriteRun = Callable[..., Path]


def names(text: str) -> list[str]:
    first, *_ = text.split("\n\n")
    return [line.split("|")[1].strip() for line in first.splitlines()[2:]]


def printed(**presentation: object) -> str:
    return table(["outputs"], None, "md", presentation=Presentation(**presentation)).text  # type: ignore[arg-type]


def test_rows_are_sorted_with_the_best_first_and_the_undefined_last(sound: WriteRun) -> None:
    by_accuracy = sorted(ACCURACIES, key=lambda name: -sum(ACCURACIES[name]))
    assert names(printed(sort="accuracy")) == by_accuracy
    assert names(printed(sort="delta")) == [*(name for name in by_accuracy if name != "static_3x3"), "static_3x3"]
    assert names(printed(sort="flops"))[0] == "static_3x3"  # less is better
    assert names(printed(sort="variant")) == sorted(ACCURACIES)


def test_selected_rows_stand_in_the_order_of_their_names_with_their_old_p_values(sound: WriteRun) -> None:
    text = printed(variants=("dynamic_3x3", "static_3x3"))
    assert names(text) == ["dynamic_3x3", "static_3x3"]
    whole, verdicts = (
        [line.split() for line in each.splitlines() if line.startswith("| dynamic_3x3 ")] for each in (printed(), text)
    )
    assert verdicts == whole and len(verdicts) == 7
    assert "Holm-adjusted over the 5 comparisons" in text and "Study lab_3x3: 12 runs" in text


def test_selected_rows_stand_in_the_order_of_their_names_side_by_side_too(two_way: WriteRun) -> None:
    layout = Layout("model.num_kernels", "optimizer.lr")
    plain, chosen = (
        names(table(["outputs"], None, "md", layout, presentation=Presentation(variants=rows)).text.split("\n\n", 1)[1])
        for rows in ((), ("16", "1", "4"))
    )
    assert plain == ["1", "4", "16"] and chosen == ["16", "1", "4"]


def test_variants_are_named_on_the_command_line_as_tables_name_them(
    sound: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    sound("a,lr=0.1", 0, 0.5)
    assert main(["table", "outputs", "--variants", "static_3x3", "a,lr=0.1"]) == 0
    assert names(capsys.readouterr().out) == ["static_3x3", "a,lr=0.1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--variants", "statik"], "--variants statik: no such variant; the variants are: static_3x3, bypass_3x3"),
        (["--sort", "speeed"], "no column speeed; the columns are: n, accuracy"),
        (["--sort", "n", "--by", "trainer.epochs"], "--sort orders the rows of one table"),
        (["--width", "column"], "--width is for LaTeX: --format tex"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    sound: WriteRun, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table", "outputs", *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_selected_side_by_side_table_keeps_its_groups(sound: WriteRun) -> None:
    sound("dynamic_3x3", 0, 0.6, study="other")
    text = table(
        ["outputs"], None, "md", Layout("variant", "study"), presentation=Presentation(variants=("dynamic_3x3",))
    ).text
    assert "| dynamic_3x3 | 69.14 ± 0.19 |" in text and "60.00" in text and "\n| static_3x3" not in text


def test_json_tells_a_number_of_pairs_out_of_reach_from_none(write_run: WriteRun) -> None:
    for about, needed in (({"margin": 1e-4}, ">10000"), ({"margin": None}, None)):
        for seed, step in enumerate((0.01, -0.02, 0.03)):
            for variant, accuracy in (("static", 0.6), ("dynamic", 0.6 + step)):
                settings = {"about.margin": about["margin"]}
                write_run(variant, seed, accuracy, study=f"margin {about['margin']}", settings=settings)
        text = table([f"outputs/margin {about['margin']}"], None, "json").text
        [claim] = [claim for row in json.loads(text)["variants"] for claim in row["claims"]]
        assert claim["pairs_needed"] == needed


def test_json_holds_every_claim_and_the_numbers_of_the_csv(sound: WriteRun) -> None:
    text = table(["outputs"], None, "json").text
    content = json.loads(text)
    assert content["metric"] == "test_accuracy" and content["caveats"] == []
    rows = {row["variant"]: row for row in content["variants"]}
    assert rows["static_3x3"]["claims"] == [] and rows["static_3x3"]["is_baseline"]
    assert rows["static_3x3"]["seeds"] == [0, 1, 2]
    against = {claim["rival"]: claim for claim in rows["dynamic_3x3"]["claims"]}
    assert [against[rival]["is_control"] for rival in ("static_3x3", "bypass_3x3")] == [False, True]
    csv = table(["outputs"], None, "csv", PLAIN, chosen(["accuracy", "p", "welch"])).text.splitlines()
    fields = dict(zip(csv[0].split(","), next(row for row in csv if ",dynamic_3x3," in row).split(","), strict=True))
    assert float(fields["p_holm"]) == against["static_3x3"]["p_holm"]
    assert float(fields["welch_ci95_low"]) == against["static_3x3"]["welch_ci95_low"]
    assert against["static_3x3"]["p_boundary"] is None and "NaN" not in text
