"""The command `kernels`: whose filters are drawn, which numbers are printed, what is written."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from analysis.__main__ import main
from analysis.filters.kernels import choose, filters_of, layers_with_filters

NAMES = tuple("abcdefghij")


def test_filters_are_those_that_the_network_applies(opened: Callable) -> None:
    run = opened("dynamic_3x3")
    indices = torch.tensor([3, 499, 120])
    found = filters_of(run, "filter", indices)
    for position, index in enumerate(indices):
        _, image, label = next(run.batches(run.data.test.subset(index[None])))
        v = run.model.backbone(image)
        torch.testing.assert_close(found.kernels[position], run.model.filter.filters(v)[0, 0].detach())
        assert found.predictions[position] == run.model(image).argmax() and found.labels[position] == label
    outputs = run.model.filter.generator(run.model.backbone(image)).abs()
    assert filters_of(run, "filter", indices[2:]).saturated == pytest.approx((outputs > 0.99).float().mean().item())


def test_a_layer_that_does_not_tell_its_kernels_is_refused(opened: Callable) -> None:
    run = opened("static_3x3")
    run.model.filter = torch.nn.Conv2d(64, 1, 3, padding=1)
    with pytest.raises(
        ValueError, match=r"`kernels` is for networks with a layer that gives each .* a method `filters"
    ):
        layers_with_filters(run)


@pytest.mark.slow
def test_a_filter_of_a_batch_goes_to_the_images_of_that_batch(opened: Callable) -> None:
    run = opened("published_bug_3x3")
    indices = torch.arange(0, 500, 5)
    found = filters_of(run, "filter", indices)
    for positions, images, _ in run.batches(run.data.test.subset(indices)):
        expected = run.model.filter.filters(run.model.backbone(images)).detach()
        torch.testing.assert_close(found.kernels[positions], expected[:, 0])
    assert len({tuple(row[:4].tolist()) for row in found.kernels.flatten(1)}) == 2


def test_three_of_one_class_and_three_of_others() -> None:
    labels = torch.arange(40) % 10
    found = choose(labels, NAMES, "d")
    assert found == {"one class": [3, 13, 23], "different classes": [5, 8, 0]}
    assert choose(labels, NAMES, None)["one class"] == [0, 10, 20]
    with pytest.raises(ValueError, match="--class z: unknown; the classes are a, b, c"):
        choose(labels, NAMES, "z")
    with pytest.raises(ValueError, match="take more --images"):
        choose(labels[:20], NAMES, "d")
    lacking = labels[(labels != 0) & (labels != 7)]
    found = choose(lacking, NAMES, None)  # of the first class that has images, and three others that have
    assert [lacking[each].tolist() for each in found.values()] == [[1, 1, 1], [3, 5, 8]]
    assert choose(torch.arange(30) % 2, ("a", "b"), "b") == {"one class": [1, 3, 5], "different classes": [0]}
    assert choose(torch.arange(30) % 3, ("a", "b", "c"), "a")["different classes"] == [1, 2]
    with pytest.raises(ValueError, match="3 images of a and one of another class are needed"):
        choose(torch.zeros(30), ("a", "b"), "a")


@pytest.mark.slow
def test_a_static_filter_shows_nothing_and_a_detached_one_is_said_to_be_untrained(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(trained(model)) for model in ("dynamic_3x3", "static_3x3", "published_bug_3x3")]
    arguments = ["--images", "60", "--class", "dog", "--out", str(tmp_path), "--device", "cpu"]
    assert main(["kernels", *runs, *arguments, "--format", "png,svg,pdf"]) == 0
    printed = capsys.readouterr()
    content = {path.parent.parent.name.split(",")[0]: json.loads(path.read_text()) for path in tmp_path.rglob("*.json")}
    assert content["static_3x3"]["input_share"] == 0 and content["static_3x3"]["class_share"] is None
    assert content["static_3x3"]["saturated"] is None
    assert 0 < content["dynamic_3x3"]["within_class"] < 2 and 0 < content["dynamic_3x3"]["input_share"] < 1
    assert content["dynamic_3x3"]["images"] == 60 and "definitions" in content["dynamic_3x3"]
    shown = content["dynamic_3x3"]["test_images_shown"]
    assert all(250 <= index < 300 for index in shown["one class"])  # the sample's dogs
    assert "is static: one filter for all images" in printed.out
    assert "one filter for a batch of 64" in printed.out and "the generator is untrained" in printed.out
    untrained = [line for line in printed.out.splitlines() if "the generator is untrained" in line]
    assert len(untrained) == 1 and untrained[0].startswith("- published_bug_3x3")
    row = next(line for line in printed.out.splitlines() if line.startswith("| static_3x3"))
    assert [cell.strip() for cell in row.split("|")][5:10] == ["0.0000", "0.0000", "0.0000", "–", "0.1525"]
    starts = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for form, start in starts.items():
        pictures = list(tmp_path.rglob(f"*.{form}"))
        assert sorted(path.stem for path in pictures) == ["kernels"] * 3 + ["kernels-differences"] * 3
        assert all(path.read_bytes().startswith(start) for path in pictures)


@pytest.mark.slow
def test_a_picture_is_the_same_every_time_and_names_no_foreign_address(
    trained: Callable[[str], Path], tmp_path: Path
) -> None:
    written = []
    for folder in ("a", "b"):
        arguments = ["--images", "60", "--out", str(tmp_path / folder), "--device", "cpu", "--format", "svg,pdf"]
        assert main(["kernels", str(trained("static_3x3")), *arguments]) == 0
        files = sorted((tmp_path / folder).rglob("kernels.*"))
        written.append([path.read_bytes() for path in files if path.suffix != ".json"])
    assert written[0] == written[1]
    svg = re.sub('"data:[^"]*"', "", written[0][1].decode().replace("http://www.w3.org/", ""))
    assert "<svg" in svg and "http" not in svg and "metadata" not in svg
