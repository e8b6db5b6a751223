"""Opening a run: what is refused in one line, which weights come, in which order the images go through."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from analysis.__main__ import main
from analysis.filters.trained import open_runs
from analysis.publishing import log_pictures as publisher
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from dynfilt.train.evaluation import Evaluator
from tests.wandb_logs import exit_record, log_folder, run_record, write_log

COMMANDS = ("kernels", "responses", "attention", "filters", "architecture")


@pytest.fixture
def copy(trained: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained("static_3x3"), tmp_path / "small" / "static" / "seed0"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_folder_is_one_line(
    command: str, tmp_path: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for folder, words in {
        "nowhere": "is not a folder; a RUN is a run's folder",
        "empty": "no runs found in",
        "small": "holds 1 runs; name the run itself, e.g. ",
    }.items():
        assert main([command, str(tmp_path / folder)]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.startswith("error: ") and printed.err.count("\n") == 1
        assert words in printed.err


@pytest.mark.parametrize(
    ("command", "model", "words"),
    [
        ("kernels", "cnn_5x5", "is for networks with a layer that gives each image's whole filter"),
        ("responses", "dynamic_3x3", "is for the label-guided networks"),
        ("attention", "static_3x3", "is for networks with a dynamic layer"),
    ],
)
def test_a_run_of_the_wrong_model_is_one_line(
    command: str,
    model: str,
    words: str,
    trained: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([command, str(trained(model)), "--out", str(tmp_path), "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and words in printed.err and f"this run's model is {model}" in printed.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data-root", "here"), "--data-root: .* which has none"),
        (("--checkpoint", "first"), "invalid choice: 'first'"),
        (("--device", "tpu"), "unknown device"),
        (("--format", "gif"), "'gif' is unknown; allowed, separated by commas: png, svg, pdf"),
        (("--images", "1"), "at least 2 images"),
    ],
)
def test_a_wrong_option_is_refused(
    words: tuple[str, ...], message: str, copy: Path, options: Callable, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        chosen = options("kernels", copy, "--out", tmp_path / "out", *words)
        chosen.run(chosen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "model", "names"),
    [
        ("kernels", "static_3x3", ["kernels", "kernels-differences"]),
        ("responses", "label_guided_1x1", ["responses"]),
        ("attention", "dynamic_3x3", ["attention-checks", "attention-choices"]),
        ("filters", "static_3x3", ["filters"]),
    ],
)
def test_with_wandb_the_pictures_of_each_run_are_logged_once_they_are_drawn(
    command: str, model: str, names: list[str], trained: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [shutil.copytree(trained(model), tmp_path / f"copy{seed}") for seed in range(2)]
    result = json.loads((runs[1] / "result.json").read_text())
    (runs[1] / "result.json").write_text(json.dumps({**result, "seed": 1}))
    logged: list[tuple[Path, list[Path], str]] = []
    monkeypatch.setattr(publisher, "log_pictures", lambda *call: logged.append(call))
    monkeypatch.setattr(publisher, "require_wandb_run", lambda folder: None)
    size = ["--images", "60"] if command in ("kernels", "attention") else []
    arguments = [command, *map(str, runs), *size, "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*arguments, "--format", "png,svg"]) == 0 and not logged
    assert main([*arguments, "--wandb"]) == 0
    assert [folder for folder, _, _ in logged] == runs
    for seed, (_, pictures, caption) in enumerate(logged):
        assert sorted(path.stem for path in pictures) == names
        assert all(path.parent.name == f"seed{seed}" for path in pictures)
        assert f", seed {seed}, best weights (epoch " in caption


def test_what_wandb_cannot_take_is_refused_before_anything_is_drawn(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["kernels", str(copy), "--wandb", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "has no wandb/ with a run to add pictures to" in capsys.readouterr().err
    write_log(log_folder(copy / "wandb", "abc"), [run_record("abc", {}), exit_record(0)])
    assert main([*arguments, "--format", "svg"]) == 2
    assert capsys.readouterr().err == "error: --wandb sends PNG files; add png to --format\n"
    assert not (tmp_path / "out").exists()


def test_the_same_run_twice_is_refused(copy: Path, options: Callable) -> None:
    with pytest.raises(ValueError, match="is the same run as"):
        open_runs(options("kernels", copy, copy))


def test_a_missing_checkpoint_and_a_foreign_model_are_named(copy: Path, opened: Callable, options: Callable) -> None:
    config = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(config.replace("kernel_size: 3", "kernel_size: 5").replace("pad: 1", "pad: 2"))
    with pytest.raises(ValueError, match=r"cannot rebuild the run's model .*size mismatch|Error.* in loading") as error:
        _ = open_runs(options("kernels", copy))[0].model
    assert "\n" not in str(error.value)
    (copy / "checkpoint" / "best.pt").unlink()
    with pytest.raises(ValueError, match=r"has no checkpoint/best\.pt"):
        _ = open_runs(options("kernels", copy))[0].model


def test_last_weights_are_the_last_ones(copy: Path, options: Callable) -> None:
    state = load_checkpoint(copy / "checkpoint" / "last.pt")
    state["model"]["classifier.bias"].fill_(3.0)
    (copy / "checkpoint" / "last.pt").unlink()  # it may share its bytes with best.pt
    save_checkpoint({**state, "epoch": 7.0}, copy / "checkpoint" / "last.pt")
    best, last = (open_runs(options("kernels", copy, "--checkpoint", which))[0] for which in ("best", "last"))
    assert (last.model.classifier.bias == 3).all() and not (best.model.classifier.bias == 3).any()
    assert last.title.endswith("seed 0, last weights (epoch 7)") and "best weights (epoch 0.142)" in best.title
    assert not last.model.training


@pytest.mark.parametrize("model", ["static_3x3", "published_bug_3x3"])
def test_scores_are_those_of_the_runs_own_evaluation(model: str, opened: Callable, trained: Callable) -> None:
    run = opened(model)
    evaluator = Evaluator(
        run.data, 1000, 64, None, lambda: torch.autocast("cpu", enabled=False), torch.contiguous_format
    )
    several_batches = run.data.test.subset(torch.arange(0, 500, 3))
    expected = evaluator.evaluate(run.model, several_batches).true_class_probability
    found = run.scores(several_batches).softmax(1).gather(1, several_batches.labels[:, None])[:, 0]
    torch.testing.assert_close(found, expected)
    evaluated = run.data.test.subset(run.sample(run.data.test, 64))  # as trainer=smoke does
    result = json.loads((trained(model) / "result.json").read_text())
    assert result["test_accuracy"] == (run.scores(evaluated).argmax(1) == evaluated.labels).double().mean()


def test_a_run_opened_in_inference_mode_can_be_used_outside(opened: Callable) -> None:
    run = opened("static_3x3")
    with torch.inference_mode():
        assert not run.model.classifier.weight.is_inference() and not run.data.test.images.is_inference()


def test_a_sample_is_spread_over_the_split(opened: Callable) -> None:
    run = opened("static_3x3")
    assert run.sample(run.data.test, None).tolist() == run.sample(run.data.test, 9999).tolist() == list(range(500))
    assert run.sample(run.data.test, 5).tolist() == [0, 125, 250, 374, 499]
    assert run.data.test.labels[run.sample(run.data.test, 50)].unique().tolist() == list(range(10))
