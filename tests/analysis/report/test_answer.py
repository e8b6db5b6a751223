"""The answer says what the verdicts say: no more, and with their numbers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from analysis.comparing.claims import claim
from analysis.comparing.comparison import compare
from analysis.comparing.variants import Variant
from analysis.reading.sources import read_runs
from analysis.report.answer import Answer, answer_of

WriteRun = Callable[..., Path]


def rows() -> list[Variant]:
    (found,) = compare(read_runs(["outputs"]), None).groups.values()
    return found


def answer() -> Answer:
    return answer_of(rows())


def write(write_run: WriteRun, **variants: list[float]) -> None:
    for variant, accuracies in variants.items():
        for seed, accuracy in enumerate(accuracies):
            write_run(variant, seed, accuracy)


def test_each_verdict_has_its_sentence_and_its_numbers(write_run: WriteRun) -> None:
    write(
        write_run, static=[0.5, 0.51, 0.52], a_up=[0.6, 0.611, 0.619], b_down=[0.4, 0.411, 0.419], c=[0.53, 0.5, 0.55]
    )
    found = answer()
    assert found.summaries == ["Against static: a_up is better; b_down is not better; c is undecided."]
    assert [(each.verdict, each.claim) for each in found.sentences] == [
        ("supported", "a_up beats static"),
        ("refuted", "b_down does not beat static"),
        ("undecided", "c is not shown to differ from static"),
    ]
    assert found.sentences[2].evidence == (
        "+1.67 points, 95 % interval [-4.07, +7.40], n = 3 pairs, p (Holm) 0.338; 3 pairs find a difference of "
        "7.54 points or more with power 0.8; tuned alike: no, published recipe."
    )


def test_an_interval_above_0_that_holm_takes_back_is_not_shown_to_beat(write_run: WriteRun) -> None:
    write(write_run, static=[0.5, 0.51, 0.52], a=[0.53, 0.55, 0.566])
    (row,) = [row for row in rows() if row.claims]
    adjusted = replace(row, claims=(replace(row.claims[0], p_holm=0.2),))
    assert row.claims[0].paired.difference.low > 0
    (sentence,) = answer_of([adjusted]).sentences
    assert (sentence.verdict, sentence.claim) == ("undecided", "a is not shown to beat static")


def test_one_pair_decides_nothing(write_run: WriteRun) -> None:
    write(write_run, static=[0.5], a=[0.9])
    (sentence,) = answer().sentences
    assert sentence.claim == "a is not shown to beat static"
    assert sentence.evidence == "+40.00 points, no interval, n = 1 pair; tuned alike: no, published recipe."


def test_arms_without_a_common_seed_are_said_to_have_none(write_run: WriteRun) -> None:
    write_run("static", 0, 0.5)
    write_run("a", 1, 0.9)
    assert answer().sentences[0].evidence == "they share no seed; tuned alike: no, published recipe."


def test_a_control_is_named_and_its_lack_is_said(write_run: WriteRun) -> None:
    write(write_run, static=[0.5, 0.51, 0.52])
    for seed, accuracy in enumerate((0.6, 0.61, 0.625)):
        write_run("a", seed, accuracy, parameters=10**9)
        write_run("as_large_as_static", seed, accuracy)
    assert answer().notes == ["No control of equal capacity was run for a: a difference may come from size alone."]
    (row,) = [row for row in rows() if row.label == "a"]
    ours, theirs = row.by_seed("test_accuracy"), {0: 0.7, 1: 0.71, 2: 0.74}
    against = replace(claim(ours, theirs, "big", is_control=True, tuned="yes"), p_holm=0.01)
    found = answer_of([replace(row, claims=(*row.claims, against))])
    assert found.notes == []
    assert found.summaries[1] == "Against big, the control of equal capacity: a is not better."
    assert found.sentences[1].claim == "a does not beat big (control of equal capacity)"


def test_a_variant_alone_and_a_study_without_results(write_run: WriteRun) -> None:
    write(write_run, a=[0.5, 0.6])
    (summary,) = answer().summaries
    assert summary == "a reaches 55.00 ± 7.07 % test accuracy (n = 2). There is nothing to compare it with."
    write_run("b", 0, 0.61, root="other")
    (single,) = compare(read_runs(["other"]), None).groups.values()
    assert answer_of(single).summaries[0].startswith("b reaches 61.00 % test accuracy (n = 1). ")
    assert answer_of([]).summaries == ["No run has a result yet, so there is no answer."]


def test_a_summary_lists_many(write_run: WriteRun) -> None:
    write(write_run, static=[0.5, 0.51, 0.52], a=[0.5, 0.52, 0.51], b=[0.5, 0.52, 0.51], c=[0.52, 0.5, 0.51])
    assert answer().summaries == ["Against static: a, b and c are undecided."]
