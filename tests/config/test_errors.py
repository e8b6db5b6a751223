from collections.abc import Callable
from pathlib import Path

import pytest

from dynfilt.config.errors import explain
from tests.conftest import ROOT, Command

SWEEPS = ("-cd", str(ROOT / "sweeps"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        # Misspelt keys, at the top, in a group, below it, and in a whole node.
        (
            ["modle=static_3x3"],
            "modle: no such key or group (did you mean mode?); conf/config.yaml allows: study, seed",
        ),
        (
            ["trainer.epocs=3"],
            "trainer.epocs: no such key (did you mean epochs?); conf/trainer/default.yaml allows: epo",
        ),
        (["trainer=smoke", "trainer.epocs=3"], "trainer.epocs: no such key (did you mean epochs?); conf/trainer/smoke"),
        (
            ["trainer={epocs: 3}"],
            "trainer.epocs: no such key (did you mean epochs?); conf/trainer/default.yaml allows:",
        ),
        (
            ["model.filter.kernelsize=3"],
            "model.filter.kernelsize: no such key (did you mean kernel_size?); conf/model/dynamic_3x3.yaml allows: in",
        ),
        (
            ["optimizer.momentum=0.9"],
            "optimizer.momentum: no such key; conf/optimizer/adam.yaml allows: fused, lr, bet",
        ),
        (
            [*SWEEPS, "-cn", "dyconv_twins", "seed=0", "optimizer.momentun=0"],
            "optimizer.momentun: no such key (did you mean momentum?); conf/optimizer/sgd.yaml allows: fused, lr, mom",
        ),
        (["~trainer.foo"], "trainer.foo: no such key; conf/trainer/default.yaml allows: epochs"),
        (["+seed=3"], "+seed: this key is there already; leave out the +"),
        # Group choices, alone and in a sweep.
        (
            ["model=static_3x4"],
            "model=static_3x4: no such file in conf/model/ (did you mean static_3x3?); allowed: byp",
        ),
        (["model=null"], "a group is null: choose one of its files instead; groups: data, model, optimizer,"),
        (["optimizer=lamb"], "optimizer=lamb: no such file in conf/optimizer/; allowed: adam, adamw, sgd"),
        (["-m", "model=static_3x3,static_3x4"], "model=static_3x4: no such file in conf/model/ (did you mean static_3"),
        # A group inside a model.
        (
            ["model/conv=dyconv"],
            "model/conv: model=dynamic_3x3 has no group conv; these have: resnet18, resnet20, resnet34, resnet8",
        ),
        (["model=resnet8", "model/conv=dycon"], "model/conv=dycon: no such file in conf/model/conv/ (did you mean dyc"),
        (["model=resnet8", "model/cnv=dyconv"], "model/cnv: no such key or group"),
        (
            ["model=resnet8", "model/conv=dyconv", "model.conv.num_kernel=3"],
            "model.conv.num_kernel: no such key (did you mean num_kernels?); conf/model/conv/dyconv.yaml allows: num",
        ),
        (
            ["model=resnet20", "model.conv.kernels=3"],
            "model.conv.kernels: no such key; conf/model/conv/static.yaml has",
        ),
        (
            ["model=resnet20", "model.widht=2"],
            "model.widht: no such key (did you mean width?); conf/model/resnet20.yam",
        ),
        # Values of the wrong type.
        (["seed=1.5"], "seed=1.5: must be a whole number; set in conf/config.yaml"),
        (["seed=null"], "seed=null: must have a value; set in conf/config.yaml"),
        (["rerun=maybe"], "rerun=maybe: must be true, false, damaged or changed; set in conf/config.yaml"),
        (["study=[a]"], "study=['a']: must be a text, not a list; set in conf/config.yaml"),
        # What cannot be read at all.
        (["seed=[1"], "cannot read the override seed=[1; write KEY=VALUE or GROUP=CHOICE, quote special characters"),
        (["seed"], "cannot read the override seed; write KEY=VALUE or GROUP=CHOICE, quote special characters"),
        (["seed=0,1"], "seed=0,1: several values; add -m to run each of them, or write KEY=[...] for a list"),
        # Sweeps.
        (["-cn", "lab_3x4"], "-cn lab_3x4: no such sweep (did you mean lab_3x3?); sweeps/ has: channels_photographs"),
        (
            [*SWEEPS, "-cn", "lab_3x4"],
            "-cn lab_3x4: no such sweep (did you mean lab_3x3?); sweeps/ has: channels_photographs",
        ),
        (["-cd", "sweps", "-cn", "lab_3x3"], "-cd: there is no folder "),
        # Flags, where Hydra prints its usage.
        (["-cn"], "argument --config-name/-cn: expected one argument; flags stand before all overrides"),
        (["--sed=1"], "unrecognized arguments: --sed=1; flags stand before all overrides, `python run.py --help` exp"),
        (["seed=0", "-m", "study=a"], "unrecognized arguments: study=a; flags stand before all overrides"),
    ],
)
def test_what_hydra_refuses_is_one_line_with_what_is_allowed(arguments: list[str], line: str, command: Command) -> None:
    outcome = command(*arguments)
    assert outcome.code == 2
    assert len(outcome.lines) == 1
    assert outcome.err.startswith(f"error: {line}")
    assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_configs_of_ones_own_come_first_and_are_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "wide.yaml").write_text("defaults: [resnet8, _self_]\nwidth: 2.0\n")
    (tmp_path / "mine" / "demo.yaml").write_text("defaults: [config, override /model: wide, _self_]\nstudy: mine\n")
    assert "wide/seed0" in command("-cd", "mine", "-cn", "demo", "mode=plan").out
    for words, line in (
        (
            ("model.widht=3",),
            "model.widht: no such key (did you mean width?); mine/model/wide.yaml allows: num_classes",
        ),
        (("model=resnet8", "model.widht=3"), "model.widht: no such key (did you mean width?); conf/model/resnet8.yaml"),
        (("model=wade",), "model=wade: no such file in conf/model/ (did you mean wide?); allowed: bypass_3x3"),
        (
            ("-cn", "dema"),
            "-cn dema: no such sweep (did you mean demo?); mine/ has: demo; sweeps/ has: channels_photographs",
        ),
    ):
        outcome = command("-cd", "mine", *(("-cn", "demo") if words[0] != "-cn" else ()), *words)
        assert (outcome.code, len(outcome.lines)) == (2, 1)
        assert outcome.err.startswith(f"error: {line}")
    failed = command("-cd", "mine", "-cn", "demo", "model.width=wide")
    assert failed.err.startswith(
        "failed: model.width='wide': must be a valid number; set in mine/model/wide.yaml or by"
    )


def wrapped(inner: Exception, outer: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: ValueError("trainer.epochs=0:\n  must be\tmore"), "trainer.epochs=0: must be more"),
        (lambda: FloatingPointError("the loss is nan"), "the loss is nan"),
        (
            lambda: Exception("Missing mandatory value: optimizer\n    full_key: optimizer"),
            "optimizer: is missing; conf/optimizer/ has: adam, adamw, sgd",
        ),
        (
            lambda: Exception("Missing mandatory value: lr\n    full_key: optimizer.lr"),
            "optimizer.lr: is missing; give it a value",
        ),
        (lambda: KeyError("weight"), "KeyError: 'weight'"),
        (lambda: OSError(28, "No space left on device"), "No space left on device: free some where output_root is"),
        (lambda: ValueError(), "ValueError"),
        (lambda: RuntimeError(), "RuntimeError: RuntimeError"),
        (
            lambda: wrapped(
                Exception("Key 'epocs' is not in struct\n    full_key: trainer.epocs\n    object_type=dict"),
                Exception("Could not override 'trainer'."),
            ),
            "trainer.epocs: no such key (did you mean epochs?)",
        ),
    ],
)
def test_any_error_is_one_line(make: Callable[[], Exception], line: str) -> None:
    explanation = explain(make())
    assert explanation.startswith(line)
    assert "\n" not in explanation


def test_a_long_message_is_cut() -> None:
    assert len(explain(ValueError("word " * 10_000))) <= 1200
