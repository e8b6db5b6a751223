"""What the config of a stranger's folder may build."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.__main__ import main
from dynfilt.config.compose import compose
from dynfilt.config.trust import CONSENT, require_trusted_targets
from dynfilt.experiment import load
from tests.conftest import ROOT, Command

FILE = Path("from/a/stranger/config.yaml")


def config_with(target: Any) -> dict[str, Any]:
    return {"model": {"filter": {"_target_": target, "f": "data.bin", "weights_only": False}}}


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*/**/*.yaml")), ids=lambda path: path.stem)
def test_all_that_our_own_configs_name_is_trusted(path: Path) -> None:
    if path.parts[-3] != "hydra" and "hydra" not in path.parts:
        require_trusted_targets({"group": yaml.safe_load(path.read_text().replace("${", "{"))}, FILE)


def test_a_composed_config_is_trusted() -> None:
    require_trusted_targets(compose(["model=resnet8", "model/conv=dyconv"]), FILE)


@pytest.mark.parametrize(
    "target",
    [
        "torch.load",
        "builtins.open",
        "os.system",
        "subprocess.Popen",
        "torch.hub.load",
        "torch.serialization.load",
        "torch.nn.functional.torch.load",
        "torch.nn.modules.module.torch.load",
        "torch.optim.optimizer.torch.load",
        "dynfilt.models.weights.torch.load",
        "dynfilt.models.weights.os.remove",
        "dynfilt.config.checks.make",
        "dynfilt.train.checkpoint.load_checkpoint",
        "dynfilt.data.published.shutil.rmtree",
        "dynfilt.data.cut_sample.main",
        "dynfilt.data.export_lists.main",
        "dynfilt.data.cifar.read_published",
        "dynfilt.tracking.mirror.open_mirror",
        "torchvision.models._api.WeightsEnum.get_state_dict",  # of a URL that the config names
        "torchvision.models.feature_extraction.create_feature_extractor",
        "torch.nn.Module.apply",
        "torch.nn.attention.activate_flash_attention_impl",
        "torch.classes.load_library",
        "torch.utils.cpp_extension.load",
        "torch.os.system",
        "torch.nn..Linear",
        "..os.system",
        "torch.n\N{MATHEMATICAL SANS-SERIF SMALL N}.Linear",
        "torchvision.models._api.sys.exit",
        "torchvision.datasets.utils.download_url",
        "torch.nn",
        "my_package.MyConv",
        "dynfiltx.layers.DYConv2d",
        17,
        None,
        "",
    ],
)
def test_what_could_run_code_is_refused_with_its_key(target: Any) -> None:
    with pytest.raises(ValueError, match=r"model\.filter\._target_=.*is not built from a run's folder"):
        require_trusted_targets(config_with(target), FILE)


def test_what_networks_are_made_of_is_trusted() -> None:
    for target in ("torch.nn.Linear", "torchvision.models.resnet18", "torchvision.ops.DeformConv2d", "torch.optim.SGD"):
        require_trusted_targets(config_with(target), FILE)


def test_a_trusted_package_lends_its_name_to_no_other() -> None:
    require_trusted_targets(config_with("tests.tiny_run.TinyNet"), FILE, trust=["tests"])
    for target in ("tests.tiny_run.os.kill", "tests.tiny_run.torch.load", "tests.tiny_run.os.environ.update"):
        with pytest.raises(ValueError, match="not built from a run's folder"):
            require_trusted_targets(config_with(target), FILE, trust=["tests"])


def test_what_the_users_own_configs_name_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("conv:\n  _target_: 'my_package.MyConv'\n")
    monkeypatch.setattr(sys, "argv", ["run.py", "-cd", str(tmp_path), "mode=test"])
    require_trusted_targets(config_with("my_package.MyConv"), FILE)
    with pytest.raises(ValueError, match="not built from a run's folder"):
        require_trusted_targets(config_with("my_package.os.system"), FILE)


@pytest.mark.parametrize(
    "word",
    [
        "run='outputs/own/resnet8,model.conv._target_=my_package.MyConv/seed0'",
        "outputs/own/resnet8,model.conv._target_=my_package.MyConv/seed0",
        "runs.zip/model.conv._target_=my_package.MyConv/seed0",
        "model.conv._target_=my_package.MyConv/seed0",
        "a={_target_:my_package.MyConv}",
        "run=[_target_=my_package.MyConv]/seed0",
    ],
)
def test_a_folder_that_is_named_after_a_target_is_no_consent(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if not word.startswith(("run=", "runs.zip")):
        Path(word).mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["run.py", "mode=test", word])
    with pytest.raises(ValueError, match="not built from a run's folder"):
        require_trusted_targets(config_with("my_package.MyConv"), FILE)


@pytest.mark.parametrize(
    "word", ["model.conv._target_=my_package.MyConv", "+buffers.blend={_target_: my_package.MyConv, initial: 1.0}"]
)
def test_a_target_that_an_override_sets_is_the_users_own(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "run=outputs/x/seed0", word])
    require_trusted_targets(config_with("my_package.MyConv"), FILE)


def test_consent_is_for_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_with("my_package.layers.MyConv")
    require_trusted_targets(config, FILE, trust=["my_package"])
    monkeypatch.setenv(CONSENT, "other,my_package")
    require_trusted_targets(config, FILE)
    with pytest.raises(ValueError, match="my_packages"):
        require_trusted_targets(config_with("my_packages.MyConv"), FILE)


def test_a_bomb_of_aliases_is_damage_for_every_reader(finished_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with (finished_copy / "config.yaml").open("a") as file:
        file.write("\n".join(lines))
    with pytest.raises(ValueError, match=r"config\.yaml: not the config of a run \(more than 10,000 values\)"):
        load(finished_copy)
    assert main(["table", str(finished_copy)]) == 0


@pytest.mark.slow
def test_a_folder_that_names_what_runs_code_is_refused_by_whatever_builds(
    finished_copy: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = finished_copy / "victim"
    victim.write_text("text")
    config = yaml.safe_load((finished_copy / "config.yaml").read_text())
    config["model"] = {"_target_": "builtins.open", "file": str(victim), "mode": "w"}
    (finished_copy / "config.yaml").write_text(yaml.safe_dump(config))
    line = "model._target_=builtins.open: is not built from a run's folder"
    with pytest.raises(ValueError, match=line):
        load(finished_copy)
    for words in (["mode=test", f"run={finished_copy}"], [f"run={finished_copy}", "trainer.epochs=9"]):
        outcome = command(*words)
        assert outcome.code == 1 and line in outcome.err and len(outcome.lines) == 1
    assert main(["attention", str(finished_copy)]) == 2 and line in capsys.readouterr().err
    assert victim.read_text() == "text"


def test_a_users_own_modules_are_built_by_consent(finished_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONSENT)
    with pytest.raises(ValueError, match=rf"if you trust the package tests, set {CONSENT}=tests"):
        load(finished_copy)
    load(finished_copy, trust=["tests"])


def test_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.root=.*no references"):
        require_trusted_targets({"data": {"root": "${oc.env:HOME}"}}, FILE)
