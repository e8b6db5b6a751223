import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from dynfilt import assembly
from dynfilt.assembly import build_data, build_trainer
from dynfilt.config.checks import check, make
from dynfilt.config.compose import GROUPS, NESTED_GROUPS, Job
from dynfilt.data.bundle import ImageData
from tests.conftest import ROOT, TINY, Command

Compose = Callable[..., list[Job]]
CPU = torch.device("cpu")
CHOICES = {group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in GROUPS}
NESTED = {group: sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml")) for group in NESTED_GROUPS}
CONVOLUTIONS = NESTED["model/conv"]


def test_every_file_of_conf_is_the_choice_of_a_group() -> None:
    files = {str(path.relative_to(ROOT / "conf")) for path in (ROOT / "conf").rglob("*") if path.is_file()}
    choices = {f"{group}/{choice}.yaml" for group, names in {**CHOICES, **NESTED}.items() for choice in names}
    assert files == choices | {
        "config.yaml",
        *(f"hydra/{name}.yaml" for name in ("launcher/pool", "launcher/queue", "launcher/slurm", "sweeper/grid")),
    }
    assert len(files) >= 31
    models = {
        *("dynamic_3x3", "static_3x3", "detached_3x3", "published_bug_3x3", "bypass_3x3"),
        *("label_guided_1x1", "static_1x1", "static_1x1_shared", "label_concat_1x1"),
        *("dyconv_resnet18", "resnet18", "cnn_5x5", "resnet8", "resnet20", "resnet34"),
    }
    assert models <= set(CHOICES["model"])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(max(len(CHOICES[group]) for group in GROUPS if group != "model")))
def test_every_choice_of_every_group_composes_and_passes_the_check(number: int, compose: Compose) -> None:
    """The first choices of all groups together, then the second ones; models have a test of their own."""
    chosen = {group: names[number % len(names)] for group, names in CHOICES.items()}
    [job] = compose(*(f"{group}={choice}" for group, choice in chosen.items()))
    assert {group: choice for group, choice in job.choices.items() if group in GROUPS} == chosen
    check(job.config, job.choices)


@pytest.fixture(scope="module")
def model_jobs(compose: Compose) -> dict[str, Job]:
    """Each model, as small a run as can be; a plan composes fast, and tests/launch/test_jobs.py holds it to Hydra."""
    small = ("trainer=smoke", "trainer.batch_size=4", "trainer.max_steps=1", "trainer.max_eval_images=4")
    jobs = compose("-m", f"model={','.join(CHOICES['model'])}", "data=cifar10_sample", *small, "mode=plan")
    return {job.choices["model"]: job for job in jobs}


@pytest.fixture(scope="module")
def convolution_jobs(compose: Compose) -> dict[str, Job]:
    """Each convolution in the smallest ResNet, as small a run as can be."""
    small = ("trainer=smoke", "trainer.batch_size=4", "trainer.max_steps=1", "trainer.max_eval_images=4")
    network = ("model=resnet8", "model.stem=stride2", f"model/conv={','.join(CONVOLUTIONS)}")
    jobs = compose("-m", *network, "data=cifar10_sample", *small, "mode=plan")
    return {job.choices["model/conv"]: job for job in jobs}


@pytest.fixture(scope="module")
def sample(model_jobs: dict[str, Job]) -> ImageData:
    return build_data(model_jobs["static_3x3"].config, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("model", CHOICES["model"])
def test_every_model_passes_the_check_and_takes_a_training_step(
    model: str, model_jobs: dict[str, Job], sample: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_takes_a_training_step(model_jobs[model], sample, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_every_convolution_passes_the_check_and_takes_a_training_step(
    convolution: str, convolution_jobs: dict[str, Job], sample: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_takes_a_training_step(convolution_jobs[convolution], sample, monkeypatch)


def assert_takes_a_training_step(job: Job, sample: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    check(job.config, job.choices)
    monkeypatch.setattr(assembly, "build_data", lambda *_: sample)
    # A narrow network on small maps has the same layers; test_resnet.py has every stem and width.
    narrow = {"stem": "imagenet"} if "conv" in job.config["model"] else {"width": 0.25, "stem": "imagenet"}
    if job.choices["model"] == "transfer_resnet18":  # its weights are a download
        narrow = {"weights": "none", "image_size": None, "freeze_until": None}
    model = {key: narrow.get(key, value) for key, value in job.config["model"].items()}
    trainer = build_trainer({**job.config, "model": model}, CPU)
    first, *_ = trainer.model.parameters()
    before = first.detach().clone()
    rows: list[dict[str, Any]] = []
    trainer.fit(lambda row, improved: rows.append(row), lambda: None, lambda step: None)
    assert [row["step"] for row in rows] == [1]
    assert not torch.equal(first, before)


@pytest.fixture(scope="module")
def job(compose: Compose) -> Job:
    [job] = compose(*TINY)
    return job


def changed(job: Job, key: str, value: Any) -> dict[str, Any]:
    """The job's config with one dotted key set."""
    config = copy.deepcopy(job.config)
    *path, last = key.split(".")
    node = config
    for part in path:
        node = node[part]
    node[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed=-1: must be a whole number from 0 to 9007199254740991"),
        ("seed", 10**30, "seed=1000000000000000000000000000000: must be a whole number from 0 to 9007199254740991"),
        (
            "data.split_seed",
            10**30,
            "data.split_seed=1000000000000000000000000000000: must be a whole number of at most",
        ),
        ("optimizer.betas", [0.9, float("inf")], "optimizer.betas=inf: must be a finite number"),
        ("rerun", 1, "rerun=1: must be true, false, damaged or changed; set in conf/config.yaml"),
        ("mode", "tset", "mode=tset: allowed: train, test, plan"),
        ("foo", 3, "foo: no such key or group; conf/config.yaml has: study, seed"),
        ("trainer", None, "trainer=None: must be one of the files in conf/trainer/"),
        ("trainer", {"epochs": 3}, "trainer={'epochs': 3}: must be one of the files in conf/trainer/"),
        ("trainer.epocs", 3, "trainer.epocs: no such key; conf/trainer/default.yaml allows: epochs, batch_size"),
        ("model.dropuot", 0.1, "model.dropuot: no such key; conf/model/tiny.yaml allows: num_classes, dropout"),
        ("trainer.epochs", "many", "trainer.epochs='many': must be a valid number; set in conf/trainer/default.yaml"),
        ("trainer.epochs", True, "trainer.epochs=True: must be a valid number"),
        ("trainer.batch_size", 1.5, "trainer.batch_size=1.5: must be a valid integer"),
        ("trainer.compile", "yes", "trainer.compile='yes': must be a valid boolean"),
        ("trainer.compile", 1, "trainer.compile=1: must be a valid boolean"),
        ("trainer.patience", "4", "trainer.patience='4': must be a valid integer"),
        ("trainer.precision", "float16", "trainer.precision='float16': must be 'float32', 'tf32' or 'bfloat16'"),
        ("trainer.epochs", 0, "trainer.epochs=0: must be a number > 0"),
        ("trainer.epochs", float("nan"), "trainer.epochs=nan: must be a number > 0"),
        ("optimizer.lr", "fast", "optimizer.lr='fast': must be a valid number; set in conf/optimizer/adam.yaml"),
        ("optimizer.momentum", 0.9, "optimizer.momentum: no such key; conf/optimizer/adam.yaml allows: lr, betas"),
        ("optimizer.betas", [0.9, "x"], "optimizer.betas=[0.9, 'x']: must be a valid number"),
        ("optimizer.lr", -0.1, "optimizer: Invalid learning rate: -0.1"),
        ("optimizer.eps", -1.0, "optimizer: Invalid epsilon value: -1.0"),
        ("optimizer.weight_decay", -1.0, "optimizer: Invalid weight_decay value: -1.0"),
        ("optimizer.betas", [0.9, 1.0], "optimizer: Invalid beta parameter at index 1: 1.0"),
        ("data.flip", "sometimes", "data.flip='sometimes': must be a valid boolean"),
        ("schedule.value", 0, "schedule: value=0 must be > 0"),
        ("temperature.epochs", -1, "temperature: epochs=-1 must be > 0"),
        ("tracking.mode", "sometimes", "tracking.mode='sometimes' is not one of auto, online, offline, off"),
        ("tracking.mode", False, "tracking.mode=False: must be a valid string"),
        ("model._target_", "tests.tiny_run.Nothing", "model._target_=tests.tiny_run.Nothing: cannot be imported"),
        ("model._target_", "no.such.module", "model._target_=no.such.module: cannot be imported"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: Any, message: str, job: Job) -> None:
    with pytest.raises(ValueError) as error:
        check(changed(job, key, value), job.choices)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["seed", "model", "output_root"])
def test_a_missing_top_level_key_is_named(key: str, job: Job) -> None:
    config = copy.deepcopy(job.config)
    del config[key]
    with pytest.raises(ValueError, match=rf"^{key}: missing; conf/config\.yaml has: "):
        check(config, job.choices)


def test_a_missing_argument_is_named(job: Job) -> None:
    config = copy.deepcopy(job.config)
    del config["model"]["dropout"]
    with pytest.raises(ValueError, match=r"model: tests\.tiny_run\.TinyNet needs dropout; set it in conf/model/tiny"):
        check(config, job.choices)


def test_nested_targets_are_checked_too(compose: Compose) -> None:
    [job] = compose("model=dynamic_3x3")
    for key, value, message in (
        (
            "model.filter.kernelsize",
            3,
            "model.filter.kernelsize: no such key; conf/model/dynamic_3x3.yaml allows: in_ch",
        ),
        ("model.filter.kernel_size", "3", "model.filter.kernel_size='3': must be a valid integer"),
        ("model.filter.gradient", "half", "model.filter.gradient='half': must be 'full' or 'cut'"),
        ("model.filter", 3, "model.filter=3: must be"),
    ):
        with pytest.raises(ValueError) as error:
            check(changed(job, key, value), job.choices)
        assert message in str(error.value)


def test_a_nested_group_is_checked_by_its_own_file(compose: Compose) -> None:
    [job] = compose("model=resnet8", "model/conv=dyconv")
    file = "conf/model/conv/dyconv.yaml"
    for key, value, message in (
        ("model.conv.num_kernel", 3, f"model.conv.num_kernel: no such key; {file} allows: in_channels"),
        ("model.conv.num_kernels", "3", f"model.conv.num_kernels='3': must be a valid integer; set in {file}"),
        ("model.conv.attention", "relu", "model.conv.attention='relu': must be 'softmax' or 'sigmoid'"),
        ("model.conv._target_", "no.such.Layer", "model.conv._target_=no.such.Layer: cannot be imported"),
        ("model.conv", "dyconv", "model.conv='dyconv': choose a file of conf/model/conv/ by model/conv=CHOICE"),
        ("model.width", "wide", "model.width='wide': must be a valid number; set in conf/model/resnet8.yaml"),
        ("model.dynamic_layers", "some", "model.dynamic_layers='some': must be 'all' or a valid array"),
        ("model.stages", [[16]], "model.stages=[[16]]: must be list[tuple[int, int]]"),
    ):
        with pytest.raises(ValueError) as error:
            check(changed(job, key, value), job.choices)
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.epochs", 0.5),
        ("trainer.epochs", 3),
        ("trainer.patience", None),
        ("trainer.patience", 4),
        ("optimizer.lr", 1),
        ("optimizer.betas", [0.8, 0.9]),
        ("optimizer.amsgrad", True),
        ("tracking.entity", "somebody"),
    ],
)
def test_what_is_fine_passes(key: str, value: Any, job: Job) -> None:
    check(changed(job, key, value), job.choices)


def test_the_check_does_not_do_the_work(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import tiny_run

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("built before the check was over")

    monkeypatch.setattr(tiny_run.TinyNet, "__init__", lambda self, num_classes, dropout: fail())
    check(job.config, job.choices)


class Picky(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        if size == 1:
            raise ValueError("size=1: too small")
        if size == 2:
            raise ValueError("picky.size=2: too small")
        if size == 3:
            raise KeyError("a mistake in the layer")
        self.size = size


def test_what_a_constructor_refuses_is_said_with_its_key() -> None:
    node: dict[str, Any] = {"_target_": "tests.config.test_compose.Picky", "size": 4}
    assert make(node, "picky").size == 4
    for size, message in ((1, "picky: size=1: too small"), (2, "picky.size=2: too small")):
        with pytest.raises(ValueError) as refused:
            make({**node, "size": size}, "picky")
        assert str(refused.value) == message
    with pytest.raises(RuntimeError, match="picky: KeyError: 'a mistake in the layer'"):
        make({**node, "size": 3}, "picky")


def test_choices_and_differences_are_those_of_the_command(compose: Compose) -> None:
    [job] = compose("model=static_3x3", "optimizer=sgd", "optimizer.lr=0.1", "seed=3", "data.root=/nowhere")
    assert (job.choices["model"], job.choices["optimizer"], job.choices["data"]) == ("static_3x3", "sgd", "cifar10")
    assert job.differences == {"optimizer": "sgd", "optimizer.lr": 0.1, "seed": 3, "data.root": "/nowhere"}
    assert set(job.overridden) == {"model", "optimizer", "optimizer.lr", "seed", "data.root"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "differences"),
    [
        ("model=resnet8", {}),
        ("model=resnet8 model/conv=static", {}),
        ("model=resnet8 model/conv=dyconv", {"conv": "dyconv"}),
        ("model/conv=dyconv model=resnet20 model.conv.num_kernels=8", {"conv": "dyconv", "model.conv.num_kernels": 8}),
        ("model=resnet8 model.width=0.5", {"model.width": 0.5}),
        ("model=resnet18 model/conv=static", {}),
    ],
)
def test_the_choice_of_a_nested_group_is_a_difference_where_it_is_not_the_models_own(
    overrides: str, differences: dict[str, Any], compose: Compose
) -> None:
    [job] = compose(*overrides.split())
    assert job.differences == differences
    assert job.choices["model/conv"] == differences.get("conv", "static")


def test_smoke_keeps_every_key_of_the_default_trainer() -> None:
    smoke = yaml.safe_load((ROOT / "conf" / "trainer" / "smoke.yaml").read_text())
    assert smoke.pop("defaults")[0] == "default"
    swept = {
        key
        for path in Path(ROOT / "sweeps").glob("*.yaml")
        for key in yaml.safe_load(path.read_text()).get("trainer", {})
    }
    assert set(smoke) == {"max_steps", "max_eval_images"}
    assert not swept & set(smoke)  # else a sweep would void trainer=smoke


@pytest.mark.parametrize("choice", ["optimizer=adam/../sgd", "model=../model/tiny"])
def test_a_choice_is_a_name(choice: str, command: Command) -> None:
    outcome = command(*TINY, choice, "mode=plan")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert f"{choice}: a choice is the name of a file in conf/" in outcome.err


@pytest.mark.slow
def test_every_path_knows_the_home_and_the_environment(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    paths = ("output_root='~/runs'", "run='$SCRATCH/run'", "data=cifar10", "data.root='$SCRATCH/data'")
    [job] = compose(*TINY, *paths)
    assert job.config["output_root"] == str(tmp_path / "runs")
    assert job.config["run"] == str(tmp_path / "scratch" / "run")
    assert job.config["data"]["root"] == str(tmp_path / "scratch" / "data")


def test_a_variable_that_is_not_set_makes_no_folder_of_its_name(command: Command, tmp_path: Path) -> None:
    outcome = command(*TINY, "output_root='$NOT_SET_HERE/runs'")
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert "output_root=$NOT_SET_HERE/runs: names an environment variable that is not set" in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["os.system", "timeit.timeit"])
def test_what_hydra_refuses_to_call_is_named_with_its_key(target: str) -> None:
    with pytest.raises(ValueError, match=rf"model\._target_={re.escape(target)}: refused \("):
        make({"_target_": target}, "model")
