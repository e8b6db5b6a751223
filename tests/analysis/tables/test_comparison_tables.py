"""Which cells a table has, which of them are marked, and what stands side by side."""

from collections.abc import Callable
from pathlib import Path

from analysis.comparing.arrangement import PLAIN, Layout
from analysis.tables.columns import COLUMNS, chosen
from analysis.tables.command import FORMATS, table

WriteRun = Callable[..., Path]


def test_every_column_can_be_chosen_in_every_format(troubled: WriteRun) -> None:
    everything = chosen([column.key for column in COLUMNS])
    for form in FORMATS:
        for layout in (PLAIN, Layout("variant", "trainer.epochs")):
            assert "dynamic_3x3" in table(["outputs"], None, form, layout, everything).text.replace("\\", "")


def marked(text: str) -> set[str]:
    return {cell.strip() for line in text.splitlines() for cell in line.split("|") if cell.strip().startswith("**")}


def test_the_best_value_of_each_column_with_a_direction_is_marked(write_run: WriteRun) -> None:
    for variant, accuracy, cost, speed in (("static", 0.5, 10, 7.0), ("b", 0.6, 20, 7.0), ("c", 0.6, 30, 7.0)):
        write_run(variant, 0, accuracy, parameters=cost, latency_ms=speed, best_epoch=float(cost))
    write_run("alone", 0, 0.9, study="other")
    write_run("failed", 0, None, state="failed")
    columns = chosen(["accuracy", "params", "latency", "best_epoch"])
    text = table(["outputs"], None, "md", PLAIN, columns).text.split("**Verdicts")[0]
    assert marked(text) == {"**60.00 ± –**", "**10**"} and text.count("**60.00") == 2


def test_accuracy_with_the_mean_choice_is_shown_where_all_runs_of_a_variant_have_it(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5)
    write_run("static", 1, 0.5)
    write_run("older", 0, 0.6)
    write_run("older", 1, 0.6, test_accuracy_mean_choice=0.3)
    assert "mean choice" not in table(["outputs"], None, "md").text
    write_run("dynamic", 0, 0.6, test_accuracy_mean_choice=0.3)
    write_run("dynamic", 1, 0.6, test_accuracy_mean_choice=0.32)
    text = table(["outputs"], None, "md").text
    head, _, static, dynamic = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[:4])
    place = head.index("with mean choice, %")
    assert (head[place + 1], static[place], dynamic[place]) == ("params ↓", "–", "31.00")
    assert "Where it is no lower the network is not dynamic" in text
    assert "test_accuracy_mean_choice" not in table(["outputs"], None, "csv").text


def test_studies_stand_side_by_side_each_with_its_own_best_and_baseline(write_run: WriteRun) -> None:
    for study, gain in (("first", 0.1), ("second", -0.1)):
        for seed in range(2):
            write_run("static", seed, 0.5 + seed / 100, study=study)
            write_run("d", seed, 0.5 + gain + seed / 90, study=study)
    write_run("only_here", 0, 0.2, study="second")
    text = table(["outputs"], None, "md", Layout("variant", "study")).text
    accuracy, difference = (block.splitlines() for block in text.split("\n\n")[1:4:2])
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in accuracy]
    assert cells[0] == ["variant", "first, % ↑", "second, % ↑"]
    assert cells[2:] == [
        ["static", "50.50 ± 0.71", "**50.50 ± 0.71**"],
        ["d", "**60.56 ± 0.79**", "40.56 ± 0.79"],
        ["only_here", "–", "20.00 ± –"],
    ]
    assert [cell.strip() for cell in difference[2].strip("|").split("|")] == ["static", "baseline", "baseline"]
    assert "second: without seed 1, which others have: only_here" in text
