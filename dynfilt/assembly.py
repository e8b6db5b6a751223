"""From a resolved config to living objects: data, model, trainer; and back from a run's folder to its model."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynfilt.check.before_training import check_own_layer
from dynfilt.config.checks import make, make_optimizer
from dynfilt.config.compose import data_node
from dynfilt.data.augment import normalise
from dynfilt.data.bundle import ImageData
from dynfilt.layers.choice import deciding_parameters
from dynfilt.run.folder import RunFolder, Weights
from dynfilt.seeding import seed_global_generators
from dynfilt.train.checkpoint import load_checkpoint
from dynfilt.train.memory import keep_freed_memory
from dynfilt.train.settings import TrainerSettings
from dynfilt.train.trainer import Trainer
from dynfilt.wording import one_line

LONGEST_PROBLEM = 300


def build_trainer(config: dict[str, Any], device: torch.device) -> Trainer:
    """Data, model, optimizer and schedules of a checked config, put together on a device.

    The initial weights depend on `seed` only. Raises ValueError for what the user can mend.
    """
    settings: TrainerSettings = make(config["trainer"], "trainer")
    settings.set_arithmetic(device)
    if device.type == "cpu":
        keep_freed_memory()
    if settings.check_layer and (conv := config["model"].get("conv")):
        check_own_layer(conv["_target_"], make(conv, "model.conv"), settings.channels_last)
    data = build_data(config, device)
    seed_global_generators(device, config["seed"], "initial weights")
    model = make(config["model"], "model").to(device=device, memory_format=settings.memory_format)
    _require_scores(model, data)
    _require_whole_batches(model, data, settings, device)
    return Trainer(
        model=model,
        data=data,
        optimizer=_optimizer(config["optimizer"], model, data, settings),
        schedule=make(config["schedule"], "schedule"),
        temperature=make(config["temperature"], "temperature"),
        buffers={name: make(node, f"buffers.{name}") for name, node in config["buffers"].items()},
        settings=settings,
        device=device,
        seed=config["seed"],
    )


def _optimizer(
    node: dict[str, Any], model: nn.Module, data: ImageData, settings: TrainerSettings
) -> torch.optim.Optimizer:
    """The optimizer of all parameters; those that decide get no weight decay where `decay_choice` is off."""
    try:
        deciding = [] if settings.decay_choice else deciding_parameters(model, _few_images(data))
    except Exception as error:  # a layer of the user's own may raise anything
        raise ValueError(f"trainer.decay_choice=false: what decides is not to be found ({one_line(error)})") from error
    if not deciding:
        return make_optimizer(node, model.parameters())
    others = [parameter for parameter in model.parameters() if all(parameter is not each for each in deciding)]
    optimizer = make_optimizer(node, [{"params": others}, {"params": deciding, "weight_decay": 0.0}])
    if "weight_decay" not in optimizer.defaults:
        raise ValueError(f"trainer.decay_choice=false: {type(optimizer).__name__} has no weight decay to leave out")
    return optimizer


def _few_images(data: ImageData) -> Tensor:
    """One or two images of the validation split, as a network takes them."""
    few = data.val.subset(torch.arange(min(2, len(data.val)), device=data.val.labels.device))
    return normalise(few.images, data.mean, data.std)


def _require_scores(model: nn.Module, data: ImageData) -> None:
    images = _few_images(data)
    model.eval()
    try:
        with torch.no_grad():  # what a layer keeps of this is there to train with
            shape = tuple(model(images).shape)
    except RuntimeError as error:
        problem = one_line(error, LONGEST_PROBLEM)
        raise ValueError(f"model: cannot take the images of {data.name}, {data.image_shape} ({problem})") from error
    model.train()
    if shape != (len(images), data.num_classes):
        raise ValueError(f"model: gives {shape[-1]} scores an image, but {data.name} has {data.num_classes} classes")


def _require_whole_batches(model: nn.Module, data: ImageData, settings: TrainerSettings, device: torch.device) -> None:
    """Refuse a last batch of one image where batch normalisation would, at the end of the first epoch."""
    count, size = len(data.train), settings.batch_size
    if count % size != 1 and size != 1:
        return
    image = normalise(data.train.subset(torch.zeros(1, dtype=torch.int64, device=device)).images, data.mean, data.std)
    try:
        with (
            torch.random.fork_rng([device] if device.type == "cuda" else []),
            torch.no_grad(),
            settings.autocast(device),
        ):
            copy.deepcopy(model)(image)
    except ValueError as error:
        raise ValueError(
            f"trainer.batch_size={size}: leaves a last batch of one image of {count} for training, which this model "
            f"cannot train on ({error}); choose another size"
        ) from error


def build_data(config: dict[str, Any], device: torch.device) -> ImageData:
    """The run's images, on the device that trains on them."""
    return make(data_node(config), "data").to(device)


def load(
    run_folder: str | Path, device: str = "cpu", checkpoint: Weights = "best", trust: Collection[str] = ()
) -> nn.Module:
    """The model of a run with the weights of one of its checkpoints, in eval mode, for notebooks and analysis.

    A folder is data: it builds what dynfilt, torch and torchvision define, and what packages in `trust`, or in the
    environment variable DYNFILT_TRUST, do. Raises ValueError for anything else, when the folder is not a run's, when
    its checkpoint is missing or damaged, and for a model that this version cannot rebuild.
    """
    folder = RunFolder(Path(run_folder))
    with rebuilding(folder, "model"):
        model = make(_without_weights(dict(folder.config_to_build(trust)["model"])), "model")
        model.load_state_dict(read_checkpoint(folder, checkpoint)["model"])
    return model.to(device).eval()


def _without_weights(node: Any) -> Any:
    """A model's config whose networks, at any depth, load no file to start from: the checkpoint holds the weights."""
    if not isinstance(node, dict):
        return node
    bare = {key: _without_weights(value) for key, value in node.items()}
    # torchvision's networks have other words for their weights.
    loads = isinstance(node.get("weights"), str) and not str(node.get("_target_")).startswith("torch")
    return bare | ({"weights": "none"} if loads and not node.get("_partial_") else {})


@contextmanager
def rebuilding(folder: RunFolder, group: str) -> Iterator[None]:
    """Turn what a recorded config and this version do not agree on into one line that names the recording version."""
    try:
        yield
    except (KeyError, TypeError, RuntimeError) as error:
        recorded = folder.provenance(strict=False) or {}
        version, commit = (recorded.get("versions") or {}).get("dynfilt"), recorded.get("commit")
        by = f"dynfilt {version or 'of an unknown version'}" + (f" at commit {commit[:10]}" if commit else "")
        problem = " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_PROBLEM]
        raise ValueError(
            f"{folder.path}: this version cannot rebuild the run's {group}, recorded by {by} ({problem})"
        ) from error


def read_checkpoint(folder: RunFolder, weights: Weights) -> dict[str, Any]:
    """A run's checkpoint with its best weights by validation or its last. Raises ValueError when there is none."""
    path = folder.checkpoint(weights)
    if not path.exists():
        name = folder.name_of(path)
        raise ValueError(f"{folder.path}: has no {name}; train it first, or anew with rerun=true")
    return load_checkpoint(path)
