"""CSV: its shape, and every number against an independent computation."""

import csv
import io
import json
import math
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np
import pytest
import scipy

from analysis.comparing.arrangement import PLAIN
from analysis.tables import columns, comparison_tables, latex, markdown
from analysis.tables.columns import COLUMNS, IMAGE_COLUMNS, chosen
from analysis.tables.command import FORMATS, table
from analysis.tables.table import Heading, column
from tests.analysis.tables.studies import ACCURACIES, predictions

WriteRun = Callable[..., Path]


def holm_by_definition(p_values: list[float]) -> list[float]:
    """max over all smaller p of min(1, (number of p not smaller) * p)."""
    return [max(min(1.0, sum(q >= r for q in p_values) * r) for r in p_values if r <= p) for p in p_values]


def records() -> dict[str, dict[str, str]]:
    text = table(["outputs"], None, "csv").text
    return {record["variant"]: record for record in csv.DictReader(io.StringIO(text))}


def test_csv_holds_a_header_and_one_record_a_variant(troubled: WriteRun) -> None:
    text = table(["outputs"], None, "csv").text
    assert text.endswith("\n") and "\n\n" not in text and "\r" not in text
    assert len(text.splitlines()) == 1 + 7
    assert len({len(line) for line in csv.reader(io.StringIO(text))}) == 1


def test_the_rivals_of_a_record_are_labels_of_others(write_run: WriteRun) -> None:
    names = {"about.names": {"static": "Static filter", "dynamic": "Dynamic filter"}}
    for variant, digest in (("static", "1"), ("dynamic", "2"), ("dynamic", "3")):
        write_run(variant, 0, 0.6, settings=names, digest=digest, root=f"outputs/{digest}")
    found = list(csv.DictReader(io.StringIO(table(["outputs"], None, "csv").text)))
    assert [record["variant"] for record in found] == ["static", "dynamic", "dynamic"]
    assert [record["label"] for record in found] == ["Static filter", "Dynamic filter @2", "Dynamic filter @3"]
    assert {record["baseline"] for record in found} == {"Static filter"}


def test_csv_agrees_with_scipy_in_full_precision(sound: WriteRun) -> None:
    found = records()
    claims = [(v, "", "static_3x3") for v in ("bypass_3x3", "detached_3x3", "dynamic_3x3")]
    claims += [(v, "control_", "bypass_3x3") for v in ("detached_3x3", "dynamic_3x3")]
    tests = [scipy.stats.ttest_rel(ACCURACIES[ours], ACCURACIES[theirs]) for ours, _, theirs in claims]
    adjusted = holm_by_definition([float(test.pvalue) for test in tests])
    for (ours, prefix, theirs), test, p_holm in zip(claims, tests, adjusted, strict=True):
        record, interval = found[ours], test.confidence_interval()
        expected = {
            "difference_mean": np.mean(ACCURACIES[ours]) - np.mean(ACCURACIES[theirs]),
            "difference_sd": np.std(np.subtract(ACCURACIES[ours], ACCURACIES[theirs]), ddof=1),
            "difference_ci95_low": interval.low,
            "difference_ci95_high": interval.high,
            "p": test.pvalue,
            "p_holm": p_holm,
        }
        assert {key: float(record[prefix + key]) for key in expected} == pytest.approx(expected, rel=1e-9)
        decided = "supported" if interval.low > 0 else "refuted"
        verdict = decided if p_holm <= 0.05 else "undecided"
        assert record[f"{prefix}verdict"] == verdict
    assert {record["control"] for record in found.values()} == {"", "bypass_3x3"}


def test_csv_means_and_intervals_agree_with_scipy(sound: WriteRun) -> None:
    for variant, accuracies in ACCURACIES.items():
        found = {key: value for key, value in records()[variant].items()}
        low, high = scipy.stats.t.interval(0.95, 2, np.mean(accuracies), scipy.stats.sem(accuracies))
        assert float(found["test_accuracy_mean"]) == pytest.approx(np.mean(accuracies), rel=1e-14)
        assert float(found["test_accuracy_sd"]) == pytest.approx(np.std(accuracies, ddof=1), rel=1e-12)
        assert float(found["test_accuracy_ci95_low"]) == pytest.approx(low, rel=1e-12)
        assert float(found["test_accuracy_ci95_high"]) == pytest.approx(high, rel=1e-12)
        assert found["train_seconds_mean"] == "519.5" and found["images_per_second_mean"] == "1800"
    unpaired = scipy.stats.ttest_ind(ACCURACIES["dynamic_3x3"], ACCURACIES["static_3x3"], equal_var=False)
    high = float(records()["dynamic_3x3"]["welch_ci95_high"])
    assert high == pytest.approx(unpaired.confidence_interval().high, rel=1e-12)


def test_chosen_columns_of_csv_are_those_fields_only(sound: WriteRun) -> None:
    text = table(["outputs"], None, "csv", PLAIN, chosen(["accuracy", "verdict", "image_se", "image_delta"])).text
    header, *lines = list(csv.reader(io.StringIO(text)))
    identity = ["study", "variant", "label", "config_digest", "n", "seeds"]
    assert header == [
        *identity,
        *("test_accuracy_mean", "test_accuracy_sd", "verdict", "image_se"),
        *("image_difference_mean", "image_difference_ci95_low", "image_difference_ci95_high"),
    ]
    dynamic = dict(zip(header, next(line for line in lines if line[1] == "dynamic_3x3"), strict=True))
    correct = {
        v: np.mean([np.equal(*predictions(a, seed).values()) for seed, a in enumerate(ACCURACIES[v])], axis=0)
        for v in ("dynamic_3x3", "static_3x3")
    }
    assert float(dynamic["image_se"]) == pytest.approx(scipy.stats.sem(correct["dynamic_3x3"]))
    interval = scipy.stats.ttest_rel(correct["dynamic_3x3"], correct["static_3x3"]).confidence_interval()
    assert float(dynamic["image_difference_ci95_low"]) == pytest.approx(interval.low)


def test_a_column_has_a_key_of_its_own_and_fields_of_the_csv(sound: WriteRun) -> None:
    keys = [column.key for column in COLUMNS]
    assert len(set(keys)) == len(keys) and "" not in keys
    fields = {field for column in COLUMNS for field in column.values}
    assert all(column.values for column in COLUMNS)
    absent = fields - records()["dynamic_3x3"].keys()
    assert absent == {field for column in IMAGE_COLUMNS for field in column.values}


def test_a_column_that_is_declared_once_is_in_every_format(sound: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    won = column("won", Heading("seeds won", "%"), {"seeds_won": lambda e: e.claim.paired.p * 0 + 50}, str, True)
    for module in (columns, comparison_tables):
        monkeypatch.setattr(module, "COLUMNS", (*COLUMNS, won))
    for form, heading in (("md", "seeds won, %"), ("tex", r"seeds won"), ("html", "seeds won<small>%")):
        assert heading in table(["outputs"], None, form, PLAIN, chosen(["n", "won"])).text
    record = records()["dynamic_3x3"]
    assert (record["seeds_won"], record["control_seeds_won"]) == ("50", "50")


def test_every_column_is_in_every_format(sound: WriteRun) -> None:
    keys = [column.key for column in COLUMNS]
    printed = {form: table(["outputs"], None, form, PLAIN, chosen(keys)).text for form in FORMATS}
    assert set(printed) == {"md", "tex", "html", "csv", "json"}
    fields = printed["csv"].partition("\n")[0].split(",")
    for each in COLUMNS:
        assert f" {markdown.escaped(each.heading.line)} " in printed["md"]
        assert f" {latex.escaped(each.heading.name)} " in printed["tex"]
        assert f">{escape(each.heading.name)}<small>{each.heading.measure}</small>" in printed["html"]
        assert set(each.values) <= set(fields)


def test_csv_leaves_undefined_values_empty(troubled: WriteRun) -> None:
    found = records()
    assert found["static_1x1"]["test_accuracy_mean"] == "0.5123"
    assert {found["static_1x1"][key] for key in ("test_accuracy_sd", "test_accuracy_ci95_low", "p")} == {""}
    assert found["never_3x3"]["n"] == "0" and found["never_3x3"]["parameters"] == ""
    assert "nan" not in table(["outputs"], None, "csv").text.lower()


def test_no_name_is_a_formula_to_a_spreadsheet(write_run: WriteRun) -> None:
    write_run("=cmd|' /C calc'!A0", 0, 0.5, study="+1")
    write_run("-0.5", 1, 0.5, study="+1")
    rows = list(csv.DictReader(io.StringIO(table(["outputs"], None, "csv").text)))
    assert [(row["study"], row["variant"]) for row in rows] == [("'+1", "'-0.5"), ("'+1", "'=cmd|' /C calc'!A0")]
    assert all(not value or value[0] not in "=+@" for row in rows for value in row.values())


def test_json_of_an_endless_loss_is_null(write_run: WriteRun) -> None:
    for seed in range(3):
        write_run("static", seed, 0.5, test_loss=math.inf)
        write_run("dynamic", seed, 0.5, test_loss=0.5 + seed)
    _, dynamic = json.loads(table(["outputs"], "static", "json", metric="test_loss").text)["variants"]
    assert dynamic["claims"][0]["difference_mean"] is None
