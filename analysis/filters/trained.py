"""A trained run, opened to look at its filters: its model, its data, its name for titles and files."""

import argparse
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynfilt.assembly import build_data, load, read_checkpoint, rebuilding
from dynfilt.config.checks import make
from dynfilt.data.bundle import ImageData, Split
from dynfilt.run.folder import WEIGHTS, RunFolder, Weights
from dynfilt.train.evaluation import Evaluator
from dynfilt.train.settings import TrainerSettings, resolve_device

from ..drawing.sheets import add_format_argument
from ..reading.find_runs import find_runs
from ..reading.run_folder import RunFolders

# Mixed kernels are as large as a network for every image: 100 of them fit beside a ResNet-18 in 4 GB.
BATCH_SIZE = 100


@dataclass
class TrainedRun:
    """A run's folder with one of its checkpoints; model and data are read when they are first needed.

    `data_root` replaces the config's `data.root`, None keeps it.
    """

    folder: Path
    study: str
    variant: str
    seed: int
    checkpoint: Weights
    data_root: str | None
    device: torch.device

    @property
    def title(self) -> str:
        """`dynamic_3x3, seed 0, best weights (epoch 9)`. Raises ValueError as `model` does for the checkpoint."""
        return f"{self.variant}, seed {self.seed}, {self.checkpoint} weights (epoch {self._epoch:.3g})"

    @property
    def place(self) -> Path:
        """The folder of its pictures below an output folder: study, variant, seed."""
        return Path(self.study, self.variant, f"seed{self.seed}")

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's resolved config, with the data root in force.

        Raises ValueError when it cannot be read, and for a data root that its data set does not take.
        """
        config = self._files.config_to_build()
        if self.data_root is not None:
            if "root" not in config["data"]:
                raise ValueError(f"--data-root: {self.folder} trained on {config['data']['_target_']}, which has none")
            config["data"]["root"] = self.data_root
        return config

    @cached_property
    def settings(self) -> TrainerSettings:
        """How the run was trained. Raises ValueError for settings that this version refuses."""
        with rebuilding(self._files, "trainer"):
            return make(self.config["trainer"], "trainer")

    @cached_property
    def data(self) -> ImageData:
        """The run's images, on the device. Raises ValueError when they cannot be read."""
        with torch.inference_mode(False), rebuilding(self._files, "data"):
            return build_data(self.config, self.device)

    @cached_property
    def model(self) -> nn.Module:
        """The run's network with the checkpoint's weights, in eval mode, on the device.

        Raises ValueError for a missing or damaged checkpoint, and for a model that this version cannot rebuild.
        """
        # Opened while nothing is tracked, its weights would be of no use in anything that is.
        with torch.inference_mode(False):
            return load(self.folder, str(self.device), self.checkpoint)

    def apply(self, images: Tensor) -> Tensor:
        """Class scores (B, num_classes) of images (B, 3, H, W), in the precision of the run's own evaluation."""
        with self.settings.autocast(self.device):
            return self.model(images)

    def batches(self, split: Split) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Indices into the split, images float32 (B, 3, H, W) and labels (B,), each image once.

        A model that mixes its batch gets the batches that it was evaluated with: of its training batch size, in
        the evaluation's shuffled order.
        """
        evaluator = Evaluator.from_settings(self.data, self.settings, self.device)
        return dataclasses.replace(evaluator, batch_size=BATCH_SIZE).batches(self.model, split)

    def few_images(self) -> Tensor:
        """The first two test images, float32, as the model is evaluated with them."""
        split = self.data.test.subset(torch.arange(2, device=self.data.test.labels.device))
        return next(images for _, images, _ in self.batches(split))

    @torch.inference_mode()
    def scores(self, split: Split) -> Tensor:
        """Class scores (N, num_classes) in the split's order, float32 on the CPU, in the run's precision."""
        scores = torch.empty(len(split), self.data.num_classes)
        for indices, images, _ in self.batches(split):
            scores[indices.cpu()] = self.apply(images).float().cpu()
        return scores

    def sample(self, split: Split, count: int | None) -> Tensor:
        """Indices of `count` images evenly spread over the split, of all for None.

        Raises ValueError for a count below 2.
        """
        if count is not None and count < 2:
            raise ValueError(f"--images {count}: at least 2 images are needed")
        return evenly_spread(len(split), len(split) if count is None else count).to(split.labels.device)

    @cached_property
    def _epoch(self) -> float:
        return read_checkpoint(self._files, self.checkpoint)["epoch"]

    @property
    def _files(self) -> RunFolder:
        return RunFolder(self.folder)


def evenly_spread(count: int, most: int) -> Tensor:
    """Indices of at most so many of `count` things, the first and the last among them."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that opens trained runs."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, e.g. outputs/lab_3x3/dynamic_3x3/seed0")
    parser.add_argument("--checkpoint", choices=WEIGHTS, default="best", help="which weights (default: best)")
    parser.add_argument("--data-root", metavar="DIR", help="folder of the dataset; default: the run's own data.root")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def add_picture_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the pictures go, and as what; `runs_to_draw` gives the runs to draw."""
    parser.add_argument(
        "--out", metavar="DIR", default="pictures", help="written to DIR/study/variant/seed (default: pictures)"
    )
    add_format_argument(parser)
    parser.add_argument("--wandb", action="store_true", help="also log the PNGs to each run's own W&B run")


def open_runs(options: argparse.Namespace) -> list[TrainedRun]:
    """The runs that the arguments name, in that order.

    Raises ValueError for a folder that is not one run's, and for two runs of the same name and seed, whose
    pictures would overwrite each other.
    """
    device = resolve_device(options.device)
    opened: dict[Path, TrainedRun] = {}
    for name in options.runs:
        run = _open(name, options.checkpoint, options.data_root, device)
        if run.place in opened:
            raise ValueError(f"{name}: is the same run as {opened[run.place].folder} ({run.place}); name it once")
        opened[run.place] = run
    return list(opened.values())


def runs_to_draw(options: argparse.Namespace, command: str) -> Iterator[TrainedRun]:
    """The runs that the arguments name; the pictures `<command>*.png` of each are published once the next is asked for.

    With --wandb the command line sets `options.publisher`, which has `require_wandb_run` and `log_pictures`.
    Raises ValueError as `open_runs` does and, before anything is drawn, for pictures that W&B cannot take.
    """
    runs = open_runs(options)
    if options.wandb:
        if "png" not in options.format:
            raise ValueError("--wandb sends PNG files; add png to --format")
        for run in runs:
            options.publisher.require_wandb_run(run.folder)
    for run in runs:
        yield run
        if options.wandb:
            pictures = sorted(Path(options.out, run.place).glob(f"{command}*.png"))
            options.publisher.log_pictures(run.folder, pictures, run.title)


def require(run: TrainedRun, fits: bool, command: str, needs: str) -> None:
    """Raise ValueError, naming what the command is for, unless the run's model fits."""
    if not fits:
        raise ValueError(f"{run.folder}: `{command}` is for {needs}; this run's model is {run.variant}")


def _open(name: str, checkpoint: Weights, data_root: str | None, device: torch.device) -> TrainedRun:
    if not Path(name).is_dir():
        raise ValueError(f"{name} is not a folder; a RUN is a run's folder, e.g. outputs/lab_3x3/dynamic_3x3/seed0")
    places = find_runs(name).run_folders
    if places != [name]:
        example = f", e.g. {places[0]}" if places else ""
        raise ValueError(f"{name} holds {len(places)} runs; name the run itself{example}")
    (run,) = RunFolders().read(name, places)
    return TrainedRun(Path(name), run.study, run.variant, run.seed, checkpoint, data_root, device)
