"""The command line of the check: exit codes, JSON, and one line for each wrong command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dynfilt.check.__main__ import main
from dynfilt.check.layer import check_layer

ROOT = Path(__file__).resolve().parents[2]
FAULTS = "tests.check.public_faults"


def test_a_right_layer_ends_with_0_and_a_line_for_each_property(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["dynfilt.layers:DYConv2d", "--init", "num_kernels=2", "bias=false", "--input", "8,6,6"]
    assert main([*words, "--only", "repeat", "own image"]) == 0
    header, repeat, own_image, verdict = capsys.readouterr().out.splitlines()
    assert header == "DYConv2d(8, 8, num_kernels=2, bias=False, kernel_size=3, padding=1) on images of 8x6x6"
    assert repeat == "ok    repeat            two forwards agree to 0"
    assert own_image.startswith("ok    own image         other images, order and batch size change an output by ")
    assert verdict.startswith("2 of 2 properties hold (")


def test_a_fault_ends_with_1_and_json_says_which(capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{FAULTS}:DetachedNorm", "--input", "8,6,6", "--only", "gradients", "repeat", "--json"]
    assert main(words) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is False
    assert [(finding["property"], finding["status"]) for finding in report["findings"]] == [
        ("gradients", "FAIL"),
        ("repeat", "ok"),
    ]
    assert main([*words, "--allow", "gradients"]) == 0


@pytest.mark.slow
def test_a_layer_beside_the_shell_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("from torch.nn import Conv2d\n\nclass MyConv(Conv2d):\n    pass\n")
    words = [sys.executable, "-m", "dynfilt.check", "mine:MyConv", "--only", "repeat"]
    done = subprocess.run(words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MyConv(64, 64, kernel_size=3, padding=1) on images of 64x8x8\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no.such.module:Layer"], r"no.such.module:Layer: cannot be imported (No module named 'no')"),
        (["dynfilt.layers:NoSuch"], "dynfilt.layers:NoSuch: cannot be imported (module 'dynfilt.layers' has no"),
        (["dynfilt"], "dynfilt: must be package.module:Layer"),
        (["dynfilt.layers:conv2d_mixture"], "dynfilt.layers:conv2d_mixture: is a function, not a class"),
        (["pathlib:Path"], "pathlib:Path: is a class but no layer; it must be a subclass of torch.nn.Module"),
        (["torch.nn:ReLU"], "ReLU: has not the interface of a convolution; it is called as ReLU(in_channels"),
        (["torch.nn:Linear"], "Linear: has not the interface of a convolution"),
        (["dynfilt.layers:DYConv2d", "--init", "rank=4"], "DYConv2d: got an unexpected keyword argument 'rank'"),
        (["dynfilt.layers:DYConv2d", "--init", "rank"], "--init rank: must be KEY=VALUE"),
        (["dynfilt.layers:DYConv2d", "--init", "in_channels=4"], "in_channels: is the first number of the input, 64"),
        (["dynfilt.layers:DYConv2d", "--input", "64,8"], "--input 64,8: must be C,H,W, e.g. 64,8,8"),
        (["dynfilt.layers:DYConv2d", "--input", "64,8,0"], "--input 64,8,0: all three must be at least 1"),
        (["dynfilt.layers:DYConv2d", "--only", "speed"], "'speed': no such property; allowed: output shape, gradients"),
    ],
)
def test_a_wrong_command_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_groups_that_do_not_divide_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dynfilt.layers:DYConv2d", "--init", "groups=3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "FAIL  construction      ValueError: groups=3: must divide in_channels=64 and out_channels=64"


def test_an_unknown_property_is_refused_by_the_function_too() -> None:
    with pytest.raises(ValueError, match="'speed': no such property"):
        check_layer(object, allow=["speed"])
