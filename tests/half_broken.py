"""A results folder as somebody else may send it: thirty runs, a third of them damaged, each in another way.

python -m tests.half_broken FOLDER
"""

import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from dynfilt.config.compose import Job
from dynfilt.experiment import identify
from dynfilt.train.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import TINY, command_line, composed

SWEEP, SEEDS = ("-m", "optimizer.lr=0.1,0.05,0.2"), range(10)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def made_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    weight = load_checkpoint(file)["model"]["fc.weight"].numpy().tobytes()
    content[bytes(content).index(weight)] ^= 1
    file.write_bytes(content)


def interrupted(folder: Path) -> None:
    """As a run is that was killed in its last epoch."""
    (folder / "result.json").unlink()
    (folder / "test_predictions.npz").unlink()
    shutil.copyfile(folder / "checkpoint" / "best.pt", folder / "checkpoint" / "last.pt")
    (folder / "status.json").write_text('{"state": "running", "started": null}')


def contradicted(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "test_accuracy": result["test_accuracy"] + 0.5}))


def out_of_range(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "test_accuracy": 45.0}))


def without_any_checkpoint(folder: Path) -> None:
    interrupted(folder)
    for name in ("last.pt", "best.pt"):
        flipped(folder / "checkpoint" / name)


def without_its_last_checkpoint(folder: Path) -> None:
    interrupted(folder)
    truncated(folder / "checkpoint" / "last.pt")


def without_its_config(folder: Path) -> None:
    interrupted(folder)
    (folder / "config.yaml").write_text(BOMB)


def with_damage_beside_the_truth(folder: Path) -> None:
    interrupted(folder)
    emptied(folder / "status.json")
    made_a_folder(folder / "provenance.json")
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([rows[0], '{"epoch": 1}', "5", *rows[1:]]) + "\n")


DAMAGE: tuple[Callable[[Path], None], ...] = (
    contradicted,
    out_of_range,
    lambda folder: emptied(folder / "result.json"),
    lambda folder: truncated(folder / "result.json"),
    lambda folder: made_a_folder(folder / "result.json"),
    lambda folder: (folder / "result.json").write_text("[]") and None,
    without_any_checkpoint,
    without_its_last_checkpoint,
    without_its_config,
    with_damage_beside_the_truth,
)


def half_broken(root: Path, finished: Path) -> list[Job]:
    """Make the folder `outputs` below an empty root, of copies of one finished tiny run; the jobs that mend it."""
    variants = composed(root, *TINY, *SWEEP, "rerun=damaged")
    jobs = [replace(job, config={**job.config, "seed": seed}) for job in variants for seed in SEEDS]
    damaged = dict(zip(random.Random(0).sample(range(len(jobs)), len(DAMAGE)), DAMAGE, strict=True))
    for number, job in enumerate(jobs):
        identity = identify(job.config, job.choices, job.differences)
        folder = root / identity.folder(job.config["output_root"])
        shutil.copytree(finished, folder)
        (folder / "config.yaml").write_text(yaml.safe_dump({**job.config, "rerun": False}, sort_keys=False))
        result = json.loads((folder / "result.json").read_text())
        own = {"variant": identity.variant, "seed": identity.seed, "config_digest": identity.digest}
        (folder / "result.json").write_text(json.dumps({**result, **own}))
        for name in ("last.pt", "best.pt"):
            state = load_checkpoint(folder / "checkpoint" / name)
            save_checkpoint({**state, "config_digest": identity.digest}, folder / "checkpoint" / name)
        if number in damaged:
            damaged[number](folder)
    return jobs


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    with command_line(target) as call:
        call(*TINY, "output_root=whole")
    shutil.move(target / "whole" / "tests" / "tiny" / "seed0", target / "finished")
    shutil.rmtree(target / "whole")
    (target / "results").mkdir()
    half_broken(target / "results", target / "finished")
    shutil.rmtree(target / "finished")
