"""`python -m benchmarks step`: its arms, its table, its file."""

from collections.abc import Callable

import pytest
import torch

from benchmarks.__main__ import main, parser
from benchmarks.commands import step
from benchmarks.commands.step import cases
from benchmarks.measuring.turns import Turns
from benchmarks.reporting.report import RESULTS, read_result
from tests.benchmarks.conftest import Bench
from tests.benchmarks.reporting.test_tables import cells

CPU = torch.device("cpu")


@pytest.mark.slow
def test_a_step_is_timed_with_its_twin_its_path_and_its_rest(bench: Bench) -> None:
    options = ["--batch", "4", "--seconds", "0", "--repetitions", "2", "data=cifar10_sample"]
    content, text = bench("step", "--models", "static_3x3,dynamic_3x3", "--formulation", "auto,grouped", *options)
    timings = {timing.arm: timing for timing in content["timings"]}
    assert {name: (t.path, t.role) for name, t in timings.items()} == {
        "static_3x3": ("taps", "static"),
        "static_3x3, grouped": ("grouped", "static"),
        "dynamic_3x3": ("taps", "ours"),
        "dynamic_3x3, grouped": ("grouped", "ours"),
    }
    for timing in timings.values():
        assert len(timing.ms) == 2 and timing.failure is None and timing.images == 4
        assert timing.floor_ms and timing.peak_mb and timing.peak_mb > 100
        assert len(timing.figures["rest of the step, ms"]) == 2
    row = cells(text, "dynamic_3x3")
    assert row["/ static"] != "-" and row["path"] == "taps" and row["rest of the step, ms"] != "-"
    assert "TFLOP/s in float32" in text


Planned = Callable[..., dict[str, dict[str, tuple[str, str]]]]


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Planned:
    """planned("--batch", "8") is case -> arm and run -> role, path; configs have a test of their own."""
    monkeypatch.setattr(step, "_checked", lambda arms: arms)

    def call(*words: str) -> dict[str, dict[str, tuple[str, str]]]:
        arguments = parser().parse_args(["step", *words])
        return {
            case: {f"{arm.name}, {arm.run}": (arm.role, arm.path or "") for arm in arms}
            for case, arms in cases(arguments, arguments.precision[0])
        }

    return call


def test_the_listed_networks_batches_and_peers_are_the_default(planned: Planned) -> None:
    plan = planned()
    assert list(plan) == [
        "static_3x3 and dynamic_3x3, batch 64, float32",
        "static_1x1 and label_guided_1x1, batch 64, float32",
        "resnet18 and dyconv_resnet18, batch 128, float32",
    ]
    lab, label, dyconv = plan.values()
    assert lab["dynamic_3x3, loop, nchw"] == ("other", "loop over images")
    assert lab["dynamic_3x3, grouped, nchw"][0] == "public"
    assert label["label_guided_1x1, ten passes, nchw"][0] == "public"
    assert dyconv["dyconv_resnet18, grouped, nchw"][0] == "public"
    assert dyconv["dyconv_resnet18, stacked outputs, nchw"][0] == "mixed outputs"
    for case in plan.values():
        assert [role for role, _ in case.values()].count("static") == 1


def test_ways_to_run_multiply_ours_and_the_twin_only(planned: Planned) -> None:
    [case] = planned("--network", "dyconv", "--run", "compiled,graph", "--batch", "8").values()
    assert list(case) == [
        *("resnet18, compiled", "dyconv_resnet18, compiled", "resnet18, graph", "dyconv_resnet18, graph"),
    ]


def test_an_arm_is_named_by_its_overrides_and_the_first_is_the_twin(planned: Planned) -> None:
    twin, ours = "model=resnet8", "model=resnet8 model/conv=dyconv"
    [(case, arms)] = planned("--arm", twin, "--arm", ours, "--batch", "128").items()
    assert case == f"{twin} {ours}, batch 128, float32"
    assert arms == {f"{twin}, eager": ("static", ""), f"{ours}, eager": ("ours", "")}
    arguments = parser().parse_args(["step", "--arm", ours, "data=cifar10_sample"])
    [(_, [arm])] = cases(arguments, "float32")
    assert arm.config(CPU)["model"]["conv"]["_target_"].endswith("DYConv2d")


@pytest.mark.parametrize("options", [["--network", "dyconv"], ["--models", "resnet18,dyconv_resnet18"]])
def test_a_case_names_what_overrides_change_and_no_place(options: list[str], planned: Planned) -> None:
    [plain] = planned(*options)
    [there] = planned(*options, "data.root=/somewhere", "data=cifar10_sample")
    [stem] = planned(*options, "data.root=/somewhere", "optimizer=sgd", "+model.stem=imagenet")
    assert there == plain
    assert stem == f"{plain}, +model.stem=imagenet, optimizer=sgd"


def test_the_results_that_are_kept_have_the_cases_of_their_commands(
    planned: Planned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.commands.step.resolve_device", lambda name: CPU)
    for content in map(read_result, RESULTS.glob("*_step*.json")):
        _, command, *words = content["machine"]["command"]
        if command == "step":
            assert list(planned(*words)) == list(dict.fromkeys(timing.case for timing in content["timings"]))


def test_candidates_for_cuda_are_arms_there_only(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--network", "dyconv", "--run", "compiled")
    assert list(*planned(*words).values()) == ["resnet18, compiled", "dyconv_resnet18, compiled"]
    monkeypatch.setattr("benchmarks.commands.step.resolve_device", lambda name: torch.device("cuda", 0))
    [case] = planned(*words).values()
    assert list(case)[2:] == ["dyconv_resnet18, stacked, compiled"]
    assert case["dyconv_resnet18, stacked, compiled"] == ("stacked", "")


@pytest.mark.slow
def test_every_arm_of_the_networks_is_what_its_name_says() -> None:
    arguments = parser().parse_args(["step", "--precision", "bfloat16", "--batch", "8", "data=cifar10_sample"])
    for _, arms in cases(arguments, "bfloat16"):
        assert not [arm for arm in arms if arm.run == "data-loader"]  # it trains in float32
        for arm in arms:
            config = arm.config(CPU)
            assert (config["trainer"]["batch_size"], config["trainer"]["precision"]) == (8, "bfloat16")
            assert config["data"]["_target_"].endswith("cifar10_sample")
            assert config["trainer"]["formulation"] == ("grouped" if "grouped" in arm.name else "auto")
            if "resnet18" in arm.name:
                assert (config["model"]["stem"], config["data"]["pad"]) == ("cifar", 4)
                assert config["optimizer"]["_target_"] == "torch.optim.SGD"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--network", "vgg"], "--network vgg: allowed: lab, label, dyconv"),
        (["--run", "fast"], "--run fast: allowed: eager, nchw"),
        (["--precision", "float16"], "--precision float16: allowed: float32, bfloat16"),
        (["--models", "nothing"], "nothing: "),
        (["--arm", "model=resnet8 model/conv=nothing"], "model=resnet8 model/conv=nothing: "),
        (
            ["--arm", "model=resnet8 trainer.precision=bfloat16"],
            "--arm trainer.precision=bfloat16: is the same for all arms of a table; give --precision",
        ),
        (["trainer.epocs=3"], "static_3x3: "),
        (["--device", "tpu"], "trainer.device=tpu: unknown device"),
    ],
)
def test_a_bad_value_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["step", "--device", "cpu", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.strip().splitlines()) == 1
    assert printed.err.startswith(f"error: {line}")


@pytest.mark.slow
def test_when_every_arm_fails_the_reason_is_the_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Turns, repetitions: int) -> None:
        for turn in self.all:
            turn.failure = "ValueError: data.root: nowhere is no folder"

    monkeypatch.setattr(Turns, "take", fail)
    assert main(["step", "--device", "cpu", "--network", "lab"]) == 2
    assert capsys.readouterr().err == "error: static_3x3: ValueError: data.root: nowhere is no folder\n"
