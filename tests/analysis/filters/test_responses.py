"""The command `responses`: the maps and scores of one image, and which image it is."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from analysis.__main__ import main
from analysis.filters.responses import responses_of, sheet


@pytest.mark.slow
def test_maps_and_scores_are_the_networks_own(opened: Callable) -> None:
    run = opened("label_guided_1x1")
    found = responses_of(run, 17)
    _, image, label = next(run.batches(run.data.test.subset(torch.tensor([17]))))
    with torch.inference_mode():
        torch.testing.assert_close(found.maps, run.model.responses(run.model.backbone(image))[0])
        torch.testing.assert_close(found.scores, run.model(image)[0])
    assert found.maps.shape == (10, 8, 8) and found.label == label
    rows = list(csv.DictReader(io.StringIO(sheet(run.data.class_names, found).csv())))
    assert float(rows[found.winner]["score"]) == max(float(row["score"]) for row in rows)
    assert sum(float(row["softmax"]) for row in rows) == pytest.approx(1)


@pytest.mark.slow
def test_the_first_correct_image_is_taken(opened: Callable) -> None:
    run = opened("label_guided_1x1")
    right = (run.scores(run.data.test).argmax(1) == run.data.test.labels).nonzero().flatten()
    assert responses_of(run, None).index == right[0]
    with torch.no_grad():  # a network that gives the right answer to nobody
        run.model.predictor[2].weight.fill_(float("nan"))
    run.data.test.labels.fill_(1)
    with pytest.raises(ValueError, match="classifies no test image correctly; choose one with --image N"):
        responses_of(run, None)


@pytest.mark.slow
def test_the_picture_and_the_scores_are_written(
    trained: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained("label_guided_1x1"))
    assert main(["responses", run, "--image", "40", "--out", str(tmp_path), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "test image 40, airplane**" in printed and printed.count("\n| ") == 12
    (picture,) = tmp_path.rglob("responses.png")
    assert picture.parent.name == "seed0"
    assert main(["responses", run, "--image", "500"]) == 2
    assert "the test split has the images 0 to 499" in capsys.readouterr().err


@pytest.mark.slow
def test_one_map_for_all_classes_is_refused(opened: Callable) -> None:
    with pytest.raises(ValueError, match="one response map a class, not one for all classes"):
        responses_of(opened("static_1x1_shared"), 0)
