"""A sweep on a real Slurm: what a node, a queue or a user does to an allocation changes no result."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, TINY
from tests.run_folders import assert_same_outcome, read_status
from tests.slurm.cluster import Cluster, is_installed, wait_until

pytest.importorskip("submitit")
pytestmark = [
    pytest.mark.skipif(not is_installed(), reason="needs Slurm: apt-get install slurm-wlm munge"),
    pytest.mark.timeout(900),
]

SLURM = ("hydra/launcher=slurm", "hydra.launcher.allocation.minutes=10", "model=faulty", "study=slurm")
DIFFERENT = frozenset({"study", "variant", "config_digest"})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


def start(cluster: Cluster, folder: Path, *words: str) -> subprocess.Popen[str]:
    """`python run.py -m hydra/launcher=slurm ...` in a folder."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), "-m", *TINY, *SLURM, *words],
        cwd=folder,
        env={**cluster.environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def runs_of(folder: Path) -> dict[int, Path]:
    return {int(path.name.removeprefix("seed")): path for path in (folder / "outputs" / "slurm").glob("*/seed*")}


def once(folder: Path, **faults: str) -> tuple[str, ...]:
    """Overrides by which something happens to the runs of some seeds in the middle, the first time."""
    (folder / "once").mkdir()
    pairs = " ".join(f"{seed.removeprefix('seed')}:{fault}" for seed, fault in faults.items())
    return f"model.faults='{pairs}'", f"model.once={folder / 'once'}"


def wait_until_it_happens(folder: Path, seed: int) -> None:
    wait_until(lambda: (folder / "once" / f"seed{seed}").exists())


def node_of(cluster: Cluster, number: int) -> str:
    """Where an allocation of the array runs."""
    lines = cluster.call("squeue", "--noheader", "--array", "--format=%K %N").splitlines()
    return dict(line.split() for line in lines)[str(number)]


@pytest.mark.slow
def test_a_job_whose_node_dies_is_queued_again_and_ends_as_if_nothing_had_happened(
    cluster: Cluster, tmp_path: Path, finished_run: Path
) -> None:
    options = ("hydra.launcher.allocation.gpus=1", "hydra.launcher.allocation.jobs=2")
    command = start(cluster, tmp_path, "seed=0,1,2", *once(tmp_path, seed0="hang"), *options)
    wait_until_it_happens(tmp_path, 0)
    node = node_of(cluster, 0)
    cluster.power_off(node)
    out, err = command.communicate(timeout=600)
    assert command.returncode == 0, err
    assert out.startswith("3 jobs in 2 allocations, Slurm job ")
    runs = runs_of(tmp_path)
    assert sorted(runs) == [0, 1, 2]
    assert_same_outcome(runs[0], finished_run, DIFFERENT)
    assert "going on from step 3 of 12" in (runs[0] / "log.txt").read_text()
    cluster.power_on(node)


@pytest.mark.slow
def test_who_makes_room_goes_on_later_and_who_is_cancelled_does_not(
    cluster: Cluster, tmp_path: Path, finished_run: Path
) -> None:
    pauses = once(tmp_path, seed0="pause", seed1="pause")
    options = ("hydra.launcher.wait=false", "hydra.launcher.allocation.jobs=1")
    command = start(cluster, tmp_path, "seed=0,1", *pauses, *options)
    out, err = command.communicate(timeout=300)  # while both still run
    assert (command.returncode, err) == (0, "")
    number = out.partition("Slurm job ")[2].partition(";")[0]
    for seed in (0, 1):
        wait_until_it_happens(tmp_path, seed)
    runs = runs_of(tmp_path)
    cluster.call("scancel", f"{number}_1")
    cluster.call("sbatch", "--partition=urgent", f"--nodelist={node_of(cluster, 0)}", "--exclusive", "--wrap=sleep 1",
                 f"--output={tmp_path / 'urgent.txt'}")  # fmt: skip
    wait_until(lambda: (runs[0] / "result.json").exists())
    wait_until(lambda: read_status(runs[1])["state"] == "interrupted")
    wait_until(lambda: cluster.call("squeue", "--noheader") == "")
    assert "going on from step 5 of 12" in (runs[0] / "log.txt").read_text()
    assert_same_outcome(runs[0], finished_run, DIFFERENT)
    assert (runs[1] / "checkpoint" / "last.pt").exists()
    assert not (runs[1] / "result.json").exists()
