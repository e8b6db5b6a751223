"""The command `architecture`: the rows, their sums, and the FLOPs of single modules by formula."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from analysis.__main__ import main
from analysis.filters.architecture import _kernel, layers_of
from dynfilt.cost import count_flops, count_layer_flops

MODELS = ["static_3x3", "dynamic_3x3", "label_guided_1x1", "cnn_5x5", "dyconv_resnet18", "resnet8"]


class Nested(nn.Module):
    """Calls one layer twice, computes on its own, and lends another layer's weight without calling it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.lent = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.inner(self.inner(x.flatten(1))), self.lent.weight)


def test_each_module_counts_what_it_computes_itself() -> None:
    found = {cost.name: cost for cost in count_layer_flops(Nested(), (6, 1, 1))}
    assert list(found) == ["inner.0", "inner.1", "inner", ""]
    assert sum(found["inner.0"].flops.values()) == 2 * 2 * 6 * 6
    assert sum(found["inner"].flops.values()) == 0
    assert sum(found[""].flops.values()) == 2 * 6 * 4
    assert found[""].output_shape == (4,)
    assert not Nested().inner[0]._forward_hooks


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_the_rows_add_up_to_the_runs_result(model: str, opened: Callable, trained: Callable[[str], Path]) -> None:
    run = opened(model)
    rows = layers_of(run)
    result = json.loads((trained(model) / "result.json").read_text())
    assert sum(row.parameters for row in rows) == result["parameters"]
    assert sum(row.flops for row in rows) == pytest.approx(result["flops"], rel=1e-12)
    assert sum(row.flops for row in rows) == pytest.approx(count_flops(run.model, (3, 32, 32)), rel=1e-12)
    assert not run.model.training and not any(m._forward_hooks or m._forward_pre_hooks for m in run.model.modules())


@pytest.mark.slow
def test_a_dynamic_network_row_by_row(opened: Callable) -> None:
    rows = {row.name: row for row in layers_of(opened("dynamic_3x3"))}
    first, generator, filter = rows["backbone.conv1"], rows["filter.generator.linear"], rows["filter"]
    assert (first.kind, first.output_shape, first.kernel) == ("Conv2d", (64, 16, 16), "7×7")
    assert (first.parameters, first.flops) == (64 * 3 * 49, 2 * 64 * 3 * 49 * 16 * 16)
    assert (generator.output_shape, generator.parameters) == ((576,), 4096 * 576 + 576)
    assert (filter.output_shape, filter.kernel, filter.parameters) == ((1, 8, 8), "3×3", 0)
    assert filter.flops == 2 * 64 * 9 * 64
    assert list(rows).index("filter.generator.linear") < list(rows).index("filter")


@pytest.mark.slow
def test_attention_and_mixing_stand_alone(opened: Callable) -> None:
    rows = [row for row in layers_of(opened("dyconv_resnet18")) if row.name.startswith("layer1.0.conv1")]
    assert [(row.kind, row.kernel) for row in rows] == [
        ("Linear", ""),
        ("Linear", ""),
        ("mixing", ""),
        ("DYConv2d", "4 of 3×3"),
    ]
    assert [row.flops for row in rows] == [2 * 64 * 17, 2 * 17 * 4, 2 * 4 * 64 * 64 * 9, 2 * 64 * 64 * 9 * 8 * 8]
    assert [row.parameters for row in rows] == [64 * 17, 17 * 4 + 4, 0, 4 * 64 * 64 * 9]


@pytest.mark.slow
def test_lent_parameters_and_class_filters_have_rows(opened: Callable) -> None:
    rows = {row.name: row for row in layers_of(opened("label_guided_1x1"))}
    assert rows["responses.filters.embedding"].parameters == 1280
    assert rows["responses.filters.embedding"].output_shape == ()
    assert rows["responses"].kernel == "1×1" and rows["responses"].output_shape == (10, 8, 8)


@pytest.mark.slow
def test_three_formats_are_printed_and_written(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(trained(model)) for model in ("static_3x3", "dyconv_resnet18")]
    assert main(["architecture", *runs, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("**Architecture of ") == 2 and "mixing the kernels" in printed
    assert "| sum " in printed and "84,746" in printed
    arguments = ["architecture", runs[0], "--device", "cpu", "--out", str(tmp_path)]
    assert main([*arguments, "--format", "csv"]) == 0
    records = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sum(int(record["parameters"]) for record in records) == 84_746
    (written,) = tmp_path.rglob("architecture.csv")
    assert list(csv.DictReader(written.open())) == records
    assert main([*arguments, "--format", "tex"]) == 0
    assert r"backbone.bn1 & BatchNorm2d & 64$\times$16$\times$16" in capsys.readouterr().out
    assert main(["architecture", *runs, "--device", "cpu", "--format", "csv"]) == 2
    assert "prints one table: name one RUN, not 2" in capsys.readouterr().err


@pytest.mark.slow
def test_a_network_is_left_as_it_was(opened: Callable) -> None:
    run = opened("static_3x3")
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    layers_of(run)
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())


def test_a_kernel_along_one_axis_is_a_row() -> None:
    assert _kernel(nn.Conv1d(1, 8, 5)) == "1×5" and _kernel(nn.Conv2d(1, 8, (3, 1))) == "3×1"
