"""A convolution from outside: through the config into a network, checked before it trains; docs/own_layer.md, run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dynfilt.check.__main__ import main as check_command
from tests.conftest import ROOT, Command, quiet_environment
from tests.own_layers import CutConv2d
from tests.run_folders import read_status

RESNET = ("model=resnet8", "model.stem=stride2", "data=cifar10_sample", "tracking=off", "trainer.device=cpu")
SMOKE = (*RESNET, "trainer=smoke")
OURS = "model.conv._target_=tests.own_layers"
PAGE = (ROOT / "docs" / "own_layer.md").read_text(encoding="utf-8")
MY_PACKAGE, MY_TEST, LIBRARY, SHARED_CELLS, OLD_OUTPUTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def my_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's first block as a module beside the shell."""
    (tmp_path / "my_package.py").write_text(MY_PACKAGE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_package", None)


@pytest.mark.slow
def test_the_pages_layer_passes_the_check_and_the_pages_test(my_package: Path) -> None:
    assert check_command(["my_package:MyConv", "--init", "hidden=8"]) == 0
    namespace: dict = {}
    exec(MY_TEST, namespace)
    namespace["test_my_conv"]()


@pytest.mark.slow
def test_the_pages_layer_trains_beside_its_static_twin(my_package: Path, command: Command, tmp_path: Path) -> None:
    targets = "model.conv._target_=torch.nn.Conv2d,my_package.MyConv"
    outcome = command("-m", *SMOKE, targets, "temperature.epochs=10")
    assert outcome.code == 0, outcome.err
    folders = sorted(path.parent.name for path in (tmp_path / "outputs" / "default").glob("*/seed0"))
    assert len(folders) == 2 and "my_package.MyConv" in folders[0]
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "table", str(tmp_path / "outputs" / "default")],
        cwd=ROOT,
        env=quiet_environment(PYTHONPATH=str(my_package)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "my_package.MyConv" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_pages_library_lines_run() -> None:
    namespace: dict = {}
    exec(LIBRARY, namespace)
    exec(SHARED_CELLS, namespace)
    network = namespace["network"]
    assert (
        network.layer1[0].conv1.cells is network.layer1[1].conv2.cells and network.layer1[0].conv1.assignment_share == 0
    )


@pytest.mark.slow
def test_the_page_measures_what_lasts_of_a_networks_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    for layer, least, most in (("DYConv2d", 0, 1e-6), ("SEConv2d", 1e-3, 0.01)):
        exec(OLD_OUTPUTS.replace("DYConv2d", layer).replace("range(5)", "range(1)"), {})
        assert least <= float(capsys.readouterr().out) < most


@pytest.mark.slow
def test_a_fault_is_found_before_training_unless_that_is_switched_off(command: Command, tmp_path: Path) -> None:
    outcome = command(*SMOKE, f"{OURS}.CutConv2d")
    assert outcome.code == 1
    [line] = outcome.lines
    assert re.search(
        r"tests\.own_layers\.CutConv2d does not hold the check of layers: gradients: gate\.0\.weight gets no gradient.*"
        r"`python -m dynfilt\.check tests\.own_layers:CutConv2d` shows all; trainer\.check_layer=false trains",
        line,
    )
    outcome = command(*SMOKE, f"{OURS}.CutConv2d", "trainer.check_layer=false")
    assert outcome.code == 0, outcome.err
    assert CutConv2d.__name__ in str(next((tmp_path / "outputs" / "default").glob("*/seed0/result.json")))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_layer_may_keep_what_it_makes_at_its_first_use(precision: str, command: Command) -> None:
    outcome = command(*SMOKE, f"{OURS}.Windowed", f"trainer.precision={precision}")
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_methods_of_the_same_name_lose_no_run(command: Command, tmp_path: Path) -> None:
    outcome = command(*SMOKE, f"{OURS}.ChoosesByLabel")
    assert outcome.code == 0, outcome.err
    [result] = (tmp_path / "outputs" / "default").glob("*/seed0/result.json")
    assert "mean_choice" not in result.read_text(encoding="utf-8")
    assert "no test_accuracy_mean_choice: " in outcome.err and "missing 1 required positional argument" in outcome.err
    outcome = command(*SMOKE, f"{OURS}.ChoosesByLabel", "trainer.decay_choice=false")
    assert outcome.code == 1 and "trainer.decay_choice=false: what decides is not to be found (" in outcome.lines[-1]


@pytest.mark.slow
def test_the_check_changes_no_number(command: Command, tmp_path: Path) -> None:
    results = []
    for root, key in (("with", "true"), ("without", "false")):
        outcome = command(*SMOKE, f"{OURS}.GatedConv2d", f"output_root={root}", f"trainer.check_layer={key}")
        assert outcome.code == 0, outcome.err
        [folder] = (tmp_path / root).glob("*/*/seed0")
        rows = (folder / "metrics.jsonl").read_text(encoding="utf-8")
        results.append((folder.parent.name, re.findall(r'"(?:train|val)_loss": [\d.]+', rows)))
        assert read_status(folder)["state"] == "completed"
    assert results[0] == results[1] and results[0][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([f"{OURS}.FiveDimensions"], "layouts: module.to(memory_format=torch.channels_last) raises"),
        ([f"{OURS}.NoLayer"], "construction: builds an object of type NoLayer, which is no torch.nn.Module"),
        (
            [f"{OURS}.number"],
            "number: is a int, must be a class or a function; set in conf/model/conv/static.yaml",
        ),
        (["model.conv._target_=tests.own_layers"], "tests.own_layers: is a module, must be a class or a function"),
        (["model.conv._target_=torch.nn.Conv3d"], "torch.nn.Conv3d does not hold the check of layers: output shape"),
        ([f"{OURS}.Missing"], "tests.own_layers.Missing: cannot be imported"),
        ([f"{OURS}.GatedConv2d", "+model.conv.rank=4"], "model.conv.rank: no such key; "),
        ([f"{OURS}.GatedConv2d", "+model.conv.hidden=many"], "model.conv.hidden='many': must be a valid integer"),
        ([f"{OURS}.GatedConv2d", "+model.conv.groups=3"], "construction: ValueError: in_channels must be divisible by"),
        (["model.conv._target_=torch.nn.Conv2d", "+model.conv.groups=5"], "must be divisible by groups"),
    ],
)
def test_bad_input_is_one_line(overrides: list[str], message: str, command: Command) -> None:
    outcome = command(*SMOKE, *overrides)
    assert outcome.code == 1
    assert message in outcome.lines[-1]
