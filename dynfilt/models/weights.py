"""Load the weights of a backbone: from the bundled file, torchvision, a .pth file, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynfilt.wording import one_line

CHOICES = "bundled (conv1 .. layer1 of IMAGENET1K_V1), imagenet (torchvision's download), a path to a .pth file, none"
# Where checkpoints of other code hold their state dict, what PyTorch's wrappers put before every name in it, and the
# number of its own that AveragedModel puts beside those names.
CONTAINERS = ("state_dict", "model_state_dict", "model")
WRAPPERS = ("module.", "_orig_mod.")
COUNTER = "n_averaged"
BUNDLED = Path(__file__).parent / "assets" / "resnet18_conv1_to_layer1.pth"
BUNDLED_SHA256 = "99ba6093c08f79365174a2e4fb341cb1212f49131b4c481bc86edaf4b529daa7"


def load_backbone_weights(module: nn.Module, weights: str, but: Collection[str] | None = None) -> None:
    """Load a ResNet-18 state dict into the layers that `module` has, strictly for those layers but the named ones.

    weights: `bundled`, `imagenet`, a path ending in .pth, or `none` (keep the random initialisation).
    A file may hold its state dict under `state_dict`, `model_state_dict` or `model`, as PyTorch's wrappers name it.
    Layers of the file that the module lacks are left out; `num_batches_tracked` may be missing; the classifier
    `fc` is never loaded. Raises ValueError, listing the choices, when the weights are unreachable or do not fit.
    """
    if weights == "none":
        return
    state = _read(weights)
    left_out = ("fc.", *(f"{name}." for name in but or ()))
    wanted = {name for name in module.state_dict() if not name.startswith(left_out)}
    missing = sorted(name for name in wanted - state.keys() if not name.endswith("num_batches_tracked"))
    if missing:
        lack = f"lack {len(missing)} tensors of this network, first {missing[0]!r}"
        prefixed = next((name for name in state if name.endswith(f".{missing[0]}")), None)
        hint = f"; they have {prefixed!r}, so save them without the prefix" if prefixed else ""
        layers, modules = [name.removesuffix(".weight") for name in missing], dict(module.named_modules())
        if but is not None and all(isinstance(modules.get(name), nn.Conv2d) for name in layers):
            hint += f"; model.random_layers=[{','.join([*but, *layers])}] starts these at random"
        raise ValueError(_explain(weights, lack + hint))
    for name in sorted(wanted & state.keys()):
        if not state[name].is_floating_point() and not name.endswith("num_batches_tracked"):
            raise ValueError(_explain(weights, f"do not fit: {name} is of {state[name].dtype}"))
    try:
        module.load_state_dict({name: state[name] for name in wanted & state.keys()}, strict=False)
    except RuntimeError as error:
        raise ValueError(_explain(weights, f"do not fit: {one_line(error)}")) from error


def _read(weights: str) -> dict[str, Tensor]:
    if weights == "bundled":
        return _read_file(BUNDLED, BUNDLED_SHA256)
    if weights == "imagenet":
        return _download()
    if weights.endswith(".pth"):
        return _read_file(Path(os.path.expandvars(weights)).expanduser(), sha256=None)
    raise ValueError(_explain(weights, "are not known"))


def _read_file(path: Path, sha256: str | None) -> dict[str, Tensor]:
    try:
        if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise ValueError("the file's SHA-256 is not the published one")
        state = _unwrapped(torch.load(path, map_location="cpu", weights_only=True))
        if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
            keys = f": its keys are {', '.join(map(repr, state))}" if isinstance(state, dict) else ""
            raise ValueError(f"not a state dict of tensors, nor one under {' or '.join(CONTAINERS)}{keys}")
    except Exception as error:
        raise ValueError(_explain(str(path), f"cannot be read ({one_line(error)})")) from error
    return state


def _unwrapped(content: Any) -> Any:
    """The state dict in a checkpoint, its names without what DataParallel, DDP, averages and compilers add."""
    for container in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
    while isinstance(content, dict):
        names = [name for name in content if name != COUNTER]
        prefix = next((p for p in WRAPPERS if names and all(str(name).startswith(p) for name in names)), None)
        if prefix is None:
            break
        content = {name.removeprefix(prefix): content[name] for name in names}
    return content


def _download() -> dict[str, Tensor]:
    from torchvision.models import ResNet18_Weights

    try:
        return ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except Exception as error:
        raise ValueError(_explain("imagenet", f"cannot be downloaded ({one_line(error)})")) from error


def _explain(weights: str, problem: str) -> str:
    return f"model.weights: the weights {weights!r} {problem}; allowed: {CHOICES}"
