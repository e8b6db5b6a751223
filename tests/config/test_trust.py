"""What the config of a stranger's folder may build."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dynfilt.config.compose import compose
from dynfilt.config.trust import CONSENT, require_trusted_targets
from tests.conftest import ROOT

FOLDER = Path("from/a/stranger")


def config_with(target: Any) -> dict[str, Any]:
    return {"model": {"filter": {"_target_": target, "f": "data.bin", "weights_only": False}}}


@pytest.mark.parametrize("path", sorted((ROOT / "conf").glob("*/**/*.yaml")), ids=lambda path: path.stem)
def test_all_that_our_own_configs_name_is_trusted(path: Path) -> None:
    if path.parts[-3] != "hydra" and "hydra" not in path.parts:
        require_trusted_targets({"group": yaml.safe_load(path.read_text().replace("${", "{"))}, FOLDER)


def test_a_composed_config_is_trusted() -> None:
    require_trusted_targets(compose(["model=resnet8", "model/conv=dyconv"]), FOLDER)


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
        require_trusted_targets(config_with(target), FOLDER)


def test_consent_is_for_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_with("my_package.layers.MyConv")
    require_trusted_targets(config, FOLDER, trust=["my_package"])
    monkeypatch.setenv(CONSENT, "other,my_package")
    require_trusted_targets(config, FOLDER)
    with pytest.raises(ValueError, match="my_packages"):
        require_trusted_targets(config_with("my_packages.MyConv"), FOLDER)


def test_a_bomb_of_aliases_is_refused_soon() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(ValueError, match="more than 10,000 values"):
        require_trusted_targets(yaml.safe_load("\n".join(lines)), FOLDER)


def test_a_reference_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.root=.*no references"):
        require_trusted_targets({"data": {"root": "${oc.env:HOME}"}}, FOLDER)
