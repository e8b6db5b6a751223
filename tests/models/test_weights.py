"""Backbone weights from every source, and every way in which a file can be wrong."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision.models import ResNet18_Weights, resnet18

from dynfilt.models import weights as weights_module
from dynfilt.models.backbone import Backbone
from dynfilt.models.weights import BUNDLED, load_backbone_weights

CHOICES = r"allowed: bundled .*imagenet .*\.pth file, none"


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def whole() -> dict[str, Tensor]:
    """The state dict of torchvision's network, random."""
    return resnet18(weights=None).state_dict()


@pytest.fixture(scope="module")
def published(whole: dict[str, Tensor]) -> dict[str, Tensor]:
    """Its layers up to layer1, a file of 0.6 MB."""
    return {name: tensor.clone() for name, tensor in whole.items() if name.startswith(("conv1", "bn1", "layer1"))}


def save(state: Any, folder: Path) -> str:
    path = folder / "weights.pth"
    torch.save(state, path)
    return str(path)


def assert_equal_except_counters(backbone: Backbone, state: dict[str, Tensor]) -> None:
    for name, tensor in backbone.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, state[name]), name


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_bundled_file_is_loaded_bit_for_bit(blocks: int) -> None:
    asset = torch.load(BUNDLED, weights_only=True)
    backbone = Backbone(blocks, "bundled")
    assert torch.equal(backbone.conv1.weight, asset["conv1.weight"])
    assert_equal_except_counters(backbone, asset)


def test_the_bundled_file_is_imagenet1k_v1() -> None:
    row = Backbone(1, "bundled").conv1.weight[0, 0, 0]
    expected = [-1.0419e-02, -6.1356e-03, -1.8098e-03, 7.4841e-02, 5.6615e-02, 1.7083e-02, -1.2694e-02]
    torch.testing.assert_close(row, torch.tensor(expected), rtol=5e-5, atol=0)


def test_none_keeps_the_random_initialisation() -> None:
    torch.manual_seed(1)
    first = Backbone(1, "none").state_dict()
    torch.manual_seed(1)
    again = Backbone(1, "none")
    assert_equal_except_counters(again, first)
    load_backbone_weights(again, "none")
    assert_equal_except_counters(again, first)
    torch.manual_seed(2)
    assert not torch.equal(Backbone(1, "none").conv1.weight, first["conv1.weight"])


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_file_of_the_whole_network_loads_strictly(blocks: int, whole: dict[str, Tensor], tmp_path: Path) -> None:
    backbone = Backbone(blocks, save(whole, tmp_path))
    for name, tensor in backbone.state_dict().items():
        assert torch.equal(tensor, whole[name]), name


@pytest.mark.parametrize("classes", [10, 64])
def test_the_classifier_is_never_loaded(classes: int, published: dict[str, Tensor], tmp_path: Path) -> None:
    model = Backbone(1, "none")
    model.fc = nn.Linear(64, classes)
    scores = model.fc.weight.detach().clone()
    load_backbone_weights(model, save(published | {"fc.weight": torch.zeros(64, 64)}, tmp_path))
    assert torch.equal(model.fc.weight, scores)
    assert torch.equal(model.conv1.weight, published["conv1.weight"])


def test_counters_may_be_missing_but_no_other_tensor(published: dict[str, Tensor], tmp_path: Path) -> None:
    without_counters = {k: v for k, v in published.items() if not k.endswith("num_batches_tracked")}
    assert_equal_except_counters(Backbone(2, save(without_counters, tmp_path)), published)
    assert len(without_counters) == 25
    for name in without_counters:
        partial = {k: v for k, v in without_counters.items() if k != name}
        with pytest.raises(ValueError, match=rf"lack 1 tensors.*'{name}'.*{CHOICES}"):
            Backbone(2, save(partial, tmp_path))


def test_a_layer_that_is_not_used_may_be_missing(published: dict[str, Tensor], tmp_path: Path) -> None:
    partial = {k: v for k, v in published.items() if not k.startswith("layer1.1")}
    Backbone(1, save(partial, tmp_path))
    with pytest.raises(ValueError, match=r"lack 10 tensors.*'layer1\.1\.bn1\.bias'"):
        Backbone(2, save(partial, tmp_path))


def test_a_tensor_of_another_shape(published: dict[str, Tensor], tmp_path: Path) -> None:
    small_stem = published | {"conv1.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(ValueError, match=rf"do not fit: .*conv1\.weight.*{CHOICES}"):
        Backbone(1, save(small_stem, tmp_path))


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"epoch": 3, "net": {"conv1.weight": torch.zeros(1)}}, ": its keys are 'epoch', 'net'"),
        ([torch.zeros(1)], ""),
        ({"conv1.weight": 3.0}, ": its keys are 'conv1.weight'"),
        ({"model": {"x": 1}}, ": its keys are 'x'"),
        ({"module.x": torch.zeros(1), 3: torch.zeros(1), "y": 1}, ": its keys are 'module.x', 3, 'y'"),
        ({"n_averaged": 1}, ": its keys are 'n_averaged'"),
    ],
    ids=["unknown container", "list", "number", "nested number", "a key that is a number", "an average of nothing"],
)
def test_a_file_that_holds_something_else(content: Any, keys: str, tmp_path: Path) -> None:
    problem = f"not a state dict of tensors, nor one under state_dict or model_state_dict or model{keys}"
    with pytest.raises(ValueError, match=rf"{problem}\).*{CHOICES}"):
        Backbone(1, save(content, tmp_path))


@pytest.mark.parametrize("wrap", [lambda network: network, nn.DataParallel], ids=["plain", "parallel"])
def test_an_average_of_weights(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    network = Backbone(1, "none")
    state = AveragedModel(wrap(network)).state_dict()
    assert "n_averaged" in state
    assert_equal_except_counters(Backbone(1, save({"model": state}, tmp_path)), network.state_dict())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("container", [None, "state_dict", "model_state_dict", "model"])
def test_wrappers_and_containers_of_other_code(
    prefix: str, container: str | None, published: dict[str, Tensor], tmp_path: Path
) -> None:
    state: dict[str, Any] = {f"{prefix}{name}": tensor for name, tensor in published.items()}
    content = state if container is None else {container: state, "epoch": 3, "optimizer": {"lr": 0.1}}
    assert_equal_except_counters(Backbone(2, save(content, tmp_path)), published)


def test_another_prefix_is_named(published: dict[str, Tensor], tmp_path: Path) -> None:
    state = {f"encoder.{name}": tensor for name, tensor in published.items()}
    with pytest.raises(ValueError, match=rf"first 'bn1\.bias'; they have 'encoder\.bn1\.bias', so save .*{CHOICES}"):
        Backbone(2, save(state, tmp_path))


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not weights\n" * 40])
def test_a_corrupt_file(spoil: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(spoil(BUNDLED.read_bytes()))
    with pytest.raises(ValueError, match=rf"weights\.pth' cannot be read.*{CHOICES}") as caught:
        Backbone(1, str(path))
    assert "\n" not in str(caught.value)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("archive", [True, False])
def test_code_in_a_file_is_not_run(archive: bool, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    path = tmp_path / "weights.pth"
    if archive:
        torch.save({"conv1.weight": Payload(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"conv1.weight": Payload(trace)}, protocol=2))
    with pytest.raises(ValueError, match=rf"cannot be read.*{CHOICES}"):
        Backbone(1, str(path))
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere/weights.pth", r"nowhere/weights\.pth' cannot be read"),
        ("imagenet1k", "'imagenet1k' are not known"),
        ("weights.pt", r"'weights\.pt' are not known"),
        ("", "'' are not known"),
        ("None", "'None' are not known"),
    ],
)
def test_a_missing_file_and_unknown_words(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"model\.weights: .*{message}.*{CHOICES}"):
        Backbone(1, name)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(ValueError, match=rf"cannot be read.*{CHOICES}"):
        Backbone(1, str(tmp_path / "folder.pth"))


def test_a_flipped_bit_in_the_bundled_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(BUNDLED.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt = tmp_path / BUNDLED.name
    spoilt.write_bytes(content)
    monkeypatch.setattr(weights_module, "BUNDLED", spoilt)
    with pytest.raises(ValueError, match=rf"SHA-256.*{CHOICES}"):
        Backbone(1, "bundled")
    spoilt.unlink()
    with pytest.raises(ValueError, match=rf"cannot be read.*{CHOICES}"):
        Backbone(1, "bundled")


def test_torchvisions_download(published: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, Any]] = []

    def download(choice: ResNet18_Weights, *_: Any, **options: Any) -> dict[str, Tensor]:
        asked.append((choice, options["check_hash"]))
        return published

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", download)
    assert_equal_except_counters(Backbone(2, "imagenet"), published)
    assert asked == [(ResNet18_Weights.IMAGENET1K_V1, True)]


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError("invalid hash value"), OSError("full")])
def test_a_download_that_fails(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, **__: Any) -> dict[str, Tensor]:
        raise error

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", download)
    with pytest.raises(ValueError, match=rf"'imagenet' cannot be downloaded \(.*{CHOICES}"):
        Backbone(1, "imagenet")
