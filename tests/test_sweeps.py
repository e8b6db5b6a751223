import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from hydra import compose as compose_config
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from torch import nn

from dynfilt import experiment
from dynfilt.config.checks import check, make
from dynfilt.config.compose import Job, register_schema
from dynfilt.cost import count_flops, count_parameters
from dynfilt.run.identity import flatten, variant_name
from dynfilt.run.parsing import YAML_LOADER
from dynfilt.train.trainer import Trainer
from tests.conftest import ROOT, TINY, Command
from tests.run_folders import assert_same_outcome, contents, read_status

SWEEPS = sorted(path.stem for path in (ROOT / "sweeps").iterdir() if path.is_file())


@cache
def written(name: str) -> dict[str, Any]:
    """The keys of a sweep's own file."""
    return cast(dict[str, Any], yaml.load((ROOT / "sweeps" / f"{name}.yaml").read_text(), YAML_LOADER))


def content(name: str) -> dict[str, Any]:
    """A sweep's own keys, and those of the sweep that it builds on."""
    base = written(name)["defaults"][0]
    merged = OmegaConf.merge(content(base) if base in SWEEPS else {}, {**written(name), "defaults": [base]})
    return cast(dict[str, Any], OmegaConf.to_container(merged))


# A sweep that builds on another differs from it in what its file says, so that one of the two is composed whole.
WHOLE = [name for name in SWEEPS if written(name)["defaults"][0] not in SWEEPS]
MODELS = {
    "demo": "static_3x3,dynamic_3x3,detached_3x3",
    "lab_3x3": "static_3x3,dynamic_3x3,detached_3x3,published_bug_3x3,bypass_3x3",
    "label_guided": "static_1x1,label_guided_1x1,static_1x1_shared,label_concat_1x1",
    "dyconv_twins": "resnet18,dyconv_resnet18",
    "field_small": ",".join(["resnet8"] * 20),
    "field": ",".join(["resnet20"] * 24),
    "field_resnet18": ",".join(["resnet18"] * 26),
}
# How far a twin's cost is from its layer's where no width of whole channels comes within 2 %.
FARTHER = {
    ("resnet20", "odconv_4x"): 0.034,
    ("resnet20", "dcd"): 0.045,
    ("resnet20", "fdconv"): 0.03,
    ("resnet20", "ddf"): 0.037,
    ("resnet20", "involution"): 0.124,
    ("resnet20", "kernel_warehouse"): 0.045,
    ("resnet18", "involution"): 0.031,
}
# What a study's rows differ in besides the convolution and the width.
ABLATED = {
    "lab_augmentation": {"data.flip", "data.pad", "data.rotate_degrees"},
    "lab_improvements": {
        *("model.num_filters", "model.backbone_blocks", "model.dropout"),
        *(f"model.filter.{key}" for key in ("rank", "activation", "normalisation", "pooled", "condition_features")),
        "model.filter.normalised",
    },
    "lab_best": {
        *(f"model.filter.{key}" for key in ("rank", "activation", "pooled", "condition_features")),
        *(f"model.second_head.{key}" for key in ("rank", "pooled", "condition_features")),
    },
    "lab_local": {"model.filter.normalised"},
    "field_small": {"model.conv.control", "model.conv.band_modulation"},
    "field": {"model.conv.control"},
    "field_resnet18": {"model.conv.control"},
    "channels_small": {"model.missing", "model.train_on_subsets", "model.first.condition"},
    "channels_photographs": {"model.missing", "model.train_on_subsets", "model.first.condition"},
    "label_backbone": {"model.frozen", "model.adapter", "model.weights", "model.responses.response_scale"},
    "transfer": {"model.freeze_until", "model.weights"},
    "dyconv_ablation": {
        *(f"model.conv.{key}" for key in ("num_kernels", "attention", "initial_scale", "control")),
        *("model.dynamic_layers", "temperature.initial", "temperature.final", "trainer.epochs", "trainer.decay_choice"),
    },
    "dyconv_tuning": {"optimizer.lr", "trainer.epochs", *(f"model.conv.{key}" for key in ("attention", "control"))}
    | {"temperature.initial", "temperature.final"},
    "small_network": {"model.stem", "model.deformable", "model.cbam"},
    "cnn_ablation": {
        *(f"model.{key}" for key in ("kernel_size", "stages", "shrink", "norm", "activation", "dropout")),
        *("data.flip", "data.pad"),
        *(f"optimizer.{key}" for key in ("weight_decay", "lr", "momentum", "nesterov")),
    },
}
# What a network takes from the data set.
OF_THE_IMAGES = ("num_classes", "network.num_classes", "mean", "std")
TINY_SWEEP = (*TINY[:2], "-cn", "tiny_sweep")


def test_a_sweep_is_a_yaml_file() -> None:
    assert {path.name for path in (ROOT / "sweeps").iterdir() if path.is_file()} == {f"{name}.yaml" for name in SWEEPS}
    assert set(MODELS) <= set(SWEEPS)


@pytest.fixture(scope="module")
def declared(compose: Callable[..., list[Job]]) -> Callable[[str], list[Job]]:
    """declared("demo") is a seed of a sweep; a plan composes fast, and tests/launch/test_jobs.py holds it to Hydra."""
    return cache(lambda name: compose("-cn", name, "seed=0", "mode=plan"))


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_a_declared_sweep_composes_and_passes_the_check(name: str, declared: Callable[[str], list[Job]]) -> None:
    jobs, ablated = declared(name), ABLATED.get(name, set())
    if name in MODELS:
        assert [job.choices["model"] for job in jobs] == MODELS[name].split(",")
    for job in jobs:
        check(job.config, job.choices)
        assert job.config["study"] == name
        assert job.differences.keys() <= {"conv", "model.width", "mode"} | ablated
        assert ablated <= {key for other in jobs for key in other.differences}
    recipes = [{key: job.config[key] for key in ("data", "optimizer", "schedule", "trainer")} for job in jobs]
    recipes = [{k: v for k, v in flatten(recipe).items() if k not in ablated} for recipe in recipes]
    assert all(recipe == recipes[0] for recipe in recipes)  # a model never changes the recipe
    if "model.dropout" not in ablated:
        assert len({job.config["model"].get("dropout") for job in jobs}) == 1  # nor how it is regularised


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_says_what_it_asks_and_costs(name: str) -> None:
    text = (ROOT / "sweeps" / f"{name}.yaml").read_text()
    header = text[: text.index("defaults:")]
    about = content(name)["about"]
    assert about["question"].endswith("?") and about["baseline"]
    assert re.search(rf"# Command .*python run\.py -cn {name}\n", header)
    assert re.search(r"# Cost +\d", header)
    assert re.search(r"# (Expected|Published|Measured) ", header)
    sweeper = content(name)["hydra"]["sweeper"]
    params = sweeper["params"]
    seeds = [int(seed) for seed in params["seed"].split(",")]
    if name.endswith("_tuning"):
        assert seeds == [100, 101]  # of its own
        arms = [] if "variants" in sweeper else ["model"]
        assert list(params) == ["seed", *arms, "optimizer.lr", "optimizer.weight_decay"] and about.get("looks") is None
        return
    assert seeds == list(range(len(seeds)))  # so that more seeds later run only what is missing
    assert about.get("looks", [len(seeds)])[-1] == len(seeds)
    assert list(params) == (["seed"] if "variants" in sweeper else ["seed", "model"])  # seeds first: a budget cuts them


def test_what_is_changed_of_a_lab_network_has_the_unchanged_network_beside_it() -> None:
    variants = content("lab_improvements")["hydra"]["sweeper"]["variants"]
    assert {each["model"] for each in variants} == {each["model"] for each in variants if each.keys() == {"model"}}


@pytest.mark.slow
def test_the_recipes_are_those_of_the_specification(declared: Callable[[str], list[Job]]) -> None:
    lab, guided, twins = (declared(name)[0].config for name in ("lab_3x3", "label_guided", "dyconv_twins"))
    half = [0.5, 0.5, 0.5]
    for config, lr, epochs in ((lab, 5e-4, 20), (guided, 1e-3, 10)):
        assert config["optimizer"]["_target_"] == "torch.optim.Adam"
        assert (config["optimizer"]["lr"], config["optimizer"]["weight_decay"]) == (lr, 0)
        assert (config["trainer"]["epochs"], config["trainer"]["batch_size"]) == (epochs, 64)
        assert (config["data"]["mean"], config["data"]["std"]) == (half, half)
        assert (config["data"]["flip"], config["data"]["pad"]) == (False, 0)
        assert config["schedule"] == {"_target_": "dynfilt.schedules.Constant", "value": 1.0}
    assert twins["optimizer"]["_target_"] == "torch.optim.SGD"
    settings = ("lr", "momentum", "nesterov", "weight_decay")
    assert [twins["optimizer"][key] for key in settings] == [0.1, 0.9, False, 1e-4]
    assert (twins["schedule"]["milestones"], twins["schedule"]["gamma"]) == ([0.5, 0.75, 0.85], 0.1)
    temperature = {key: twins["temperature"][key] for key in ("initial", "final", "epochs")}
    assert temperature == {"initial": 30, "final": 1, "epochs": 10}
    assert (twins["trainer"]["epochs"], twins["trainer"]["batch_size"]) == (50, 128)
    assert (twins["data"]["flip"], twins["data"]["pad"]) == (True, 4)
    assert twins["data"]["mean"] == [0.4914, 0.4822, 0.4465]
    assert twins["data"]["std"] == [0.2023, 0.1994, 0.2010]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SWEEPS) - set(WHOLE)))
def test_a_sweep_that_builds_on_another_changes_the_images_the_length_or_the_claims_alone(name: str) -> None:
    base = written(name)["defaults"][0]
    register_schema()
    with initialize_config_dir(str(ROOT / "sweeps"), version_base="1.3"):
        own, former = (
            OmegaConf.to_container(compose_config(each, [f"hydra.searchpath=[file://{ROOT / 'conf'}]"]), resolve=True)
            for each in (name, base)
        )
    assert isinstance(own, dict) and isinstance(former, dict)
    assert own["study"] == name
    if name.endswith("_tuning"):
        del own["about"]
    elif name == "dyconv_twins_cpu":  # a tenth of the epochs, of which annealing takes the same part
        tenth = {"temperature": 10, "trainer": 10}
        for group, factor in tenth.items():
            assert own[group].pop("epochs") * factor == former[group].pop("epochs")
        assert (own["trainer"].pop("evaluate_every_epochs"), own.pop("about")["looks"]) == (1, [3, 5])
        del former["trainer"]["evaluate_every_epochs"]
    elif name == "dyconv_ablation_resnet18":
        dyconv = "resnet18,conv=dyconv"
        assert own.pop("about")["controls"].keys() == {dyconv, f"{dyconv},trainer.decay_choice=false"}
    else:
        for config, num_classes in ((own, 100), (former, 10)):
            model, data = flatten(config["model"]), config.pop("data")
            of_images = {key: model.pop(key) for key in OF_THE_IMAGES if key in model}
            assert of_images == {key: data[key.rpartition(".")[2]] for key in of_images}
            assert num_classes in of_images.values()
            config["model"] = model
    for key in own.keys() - {"study"}:
        assert own[key] == former[key], key


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "sweeps" / "bfloat16").iterdir()), ids=lambda path: path.stem)
def test_a_study_in_bfloat16_differs_from_it_in_its_precision_alone(path: Path, declared: Any, compose: Any) -> None:
    base = path.stem.removesuffix("_bf16")
    assert f"python run.py -cd sweeps/bfloat16 -cn {path.stem}" in path.read_text()
    jobs = compose("-cd", str(path.parent), "-cn", path.stem, "seed=0", "mode=plan")
    for job, twin in zip(jobs, declared(base), strict=True):
        assert (job.choices, job.differences) == (twin.choices, twin.differences)
        assert flatten(job.config) == flatten(twin.config) | {"trainer.precision": "bfloat16"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_classes"), [("field", 10), ("field", 100), ("field_resnet18", 10), ("field_resnet18", 100)]
)
def test_the_cost_twins_of_the_field_cost_what_their_layers_do(
    name: str, num_classes: int, declared: Callable[[str], list[Job]]
) -> None:
    jobs = {variant_name(job.choices["model"], job.differences): job for job in declared(name)}
    about = declared(name)[0].config["about"]
    assert set(about["controls"]) == {
        row for row in jobs if ",conv=" in row and not row.endswith(("=se", "control=constant"))
    }

    def cost(row: str, device: str, count: Callable[[nn.Module], float]) -> float:
        with torch.device("meta"):  # nothing is drawn
            network: nn.Module = make({**jobs[row].config["model"], "num_classes": num_classes}, "model")
        return count(network if device == "meta" else network.to_empty(device=device))

    def flops(network: nn.Module) -> float:
        return count_flops(network, (3, 32, 32))

    for row, controls in about["controls"].items():
        assert controls[0] == f"{about['baseline']},conv=se"
        limit = FARTHER.get(tuple(row.split(",conv=")), 0.02)
        counts = (count_parameters, flops) if num_classes == 10 else (count_parameters,)  # a head is 0.1 % of the FLOPs
        for control, count in zip(controls[1:], counts, strict=False):
            layer_on = "cpu" if count is flops else "meta"
            assert abs(cost(control, "meta", count) / cost(row, layer_on, count) - 1) < limit, (row, control)


@pytest.mark.slow
def test_a_failing_job_leaves_the_others_running_and_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Trainer.train_step

    def fail(self: Any) -> None:
        if self.seed != 2 and self.step == 4:
            raise RuntimeError(f"seed {self.seed} is broken")
        train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", fail)
        outcome = command(*TINY_SWEEP)
    folders = [tmp_path / "outputs" / "sweep" / "tiny" / f"seed{seed}" for seed in range(3)]
    assert outcome.code == 1
    assert "Traceback" not in outcome.out + outcome.err
    summary = outcome.err.splitlines()[-3:]
    assert summary[0] == "2 jobs failed:"
    assert [line.strip() for line in summary[1:]] == [
        "seed=0: RuntimeError: seed 0 is broken",
        "seed=1: RuntimeError: seed 1 is broken",
    ]
    assert [read_status(folder)["state"] for folder in folders] == ["failed", "failed", "completed"]
    assert "RuntimeError: seed 0 is broken" in read_status(folders[0])["error"]["traceback"]
    assert [(folder / "result.json").exists() for folder in folders] == [False, False, True]

    # The same command again runs only what is missing.
    before = contents(folders[2])
    outcome = command(*TINY_SWEEP)
    assert outcome.code == 0, outcome.err
    assert [line for line in outcome.lines if "already done" in line] == [
        "outputs/sweep/tiny/seed2: already done; skipped, rerun=true runs it anew"
    ]
    assert outcome.out.count("going on from step 3 of 12") == 2
    assert contents(folders[2]) == before
    assert [read_status(folder)["state"] for folder in folders] == ["completed"] * 3

    # A job of a sweep is the run that it would be alone.
    shutil.move(folders[1], tmp_path / "in the sweep")
    assert command(*TINY, "study=sweep", "seed=1").code == 0
    assert_same_outcome(folders[1], tmp_path / "in the sweep")
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "in the sweep"}


@pytest.mark.slow
def test_a_job_that_asks_to_exit_is_a_failure(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def exit_(job: Job, stop: object) -> None:
        raise (SystemExit(0), GeneratorExit(), SystemExit(3))[job.config["seed"]]

    monkeypatch.setattr(experiment, "run", exit_)
    outcome = command(*TINY_SWEEP)
    assert outcome.code == 1
    assert [line.strip() for line in outcome.err.splitlines()[-3:]] == [
        "seed=0: SystemExit: 0",
        "seed=1: GeneratorExit: GeneratorExit",
        "seed=2: SystemExit: 3",
    ]


@pytest.mark.slow
def test_one_reason_is_told_once_with_all_its_jobs(command: Command) -> None:
    outcome = command(*TINY_SWEEP, "optimizer.lr=-1")
    assert outcome.code == 1
    first, count, summary = outcome.err.splitlines()
    jobs = [f"seed={seed} optimizer.lr=-1" for seed in range(3)]
    assert first == f"failed: {jobs[0]}: optimizer: Invalid learning rate: -1"
    assert count == "3 jobs failed:"
    assert summary.strip() == f"{'; '.join(jobs)}: optimizer: Invalid learning rate: -1"


@pytest.mark.slow
def test_a_bad_value_in_a_sweep_is_named_with_its_job(command: Command) -> None:
    outcome = command(*TINY_SWEEP, "mode=plan", "seed=0,-1")
    assert outcome.code == 1
    assert "tiny/seed0  to do" in outcome.out
    assert outcome.err == "failed: seed=-1 mode=plan: seed=-1: must be a whole number from 0 to 9007199254740991\n"


@pytest.mark.slow
def test_a_misspelt_key_in_a_sweeps_body_is_an_error(command: Command, tmp_path: Path) -> None:
    for body, line in (
        ("trainer: {epocs: 3}", "trainer.epocs: no such key"),
        ("model: {dropuot: 0.1}", "model.dropuot: no such key"),
        ("studdy: mine", "studdy: no such key or group (did you mean study?)"),
    ):
        sweep = (ROOT / "tests" / "conf" / "tiny_sweep.yaml").read_text().replace("study: sweep", body)
        (tmp_path / "mine.yaml").write_text(sweep.replace("- tiny\n", "- config\n  - override /tracking: 'off'\n"))
        outcome = command("-cd", str(tmp_path), "-cn", "mine", "seed=0")
        assert outcome.code != 0
        assert len(outcome.lines) == 1
        assert line in outcome.err
        assert not (tmp_path / "outputs").exists()
