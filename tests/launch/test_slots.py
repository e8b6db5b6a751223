"""Which places for jobs a machine has."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from dynfilt.launch import slots
from dynfilt.launch.slots import Slot, available_cores, cpu_slots, gpu_slots, shared_gpus, visible_gpus


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may use the cores 2 to 9, and no container or scheduler bounds it further."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(2, 10)))
    monkeypatch.setattr(slots, "_quota_cores", lambda: 2**16)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


@pytest.mark.usefixtures("eight_cores")
def test_cores_are_shared_out_and_never_twice() -> None:
    assert cpu_slots(None, None) == [Slot(1)] * 8
    assert cpu_slots(2, None) == [Slot(4)] * 2
    assert cpu_slots(None, 3) == [Slot(3)] * 2
    assert cpu_slots(1, 2) == [Slot(2)]
    assert cpu_slots(None, 8) == [Slot(8)]
    with pytest.raises(ValueError, match="3 slots of 3 threads need 9 cores, this machine gives 8"):
        cpu_slots(3, 3)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize("bound", ["quota", "slurm"])
def test_no_more_cores_are_shared_out_than_were_granted(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bound == "quota":
        monkeypatch.setattr(slots, "_quota_cores", lambda: 4)
    else:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert available_cores() == 4
    assert cpu_slots(None, 2) == [Slot(2), Slot(2)]
    with pytest.raises(ValueError, match="this machine gives 4"):
        cpu_slots(5, 1)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "400000 100000"}, 4),
        ({"cpu.max": "max 100000"}, 2**16),
        ({"user.slice/cpu.max": "250000 100000", "user.slice/me/cpu.max": "max 100000"}, 2),
        ({"user.slice/cpu.max": "250000 100000", "user.slice/me/cpu.max": "100000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 2**16),
        ({}, 2**16),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(slots, "CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr(slots, "_own_control_group", lambda: "user.slice/me")
    assert slots._quota_cores() == cores


@pytest.mark.usefixtures("eight_cores")
def test_gpus_are_handed_out_in_turn() -> None:
    assert gpu_slots(["0", "3"], 2, None) == [Slot(2, gpu=gpu) for gpu in ("0", "3", "0", "3")]
    assert gpu_slots(["0"], None, None) == [Slot(1, gpu="0")] * 8
    assert gpu_slots(["0"], 16, 5) == [Slot(5, gpu="0")] * 16


@pytest.mark.parametrize(
    ("shown", "names"),
    [
        ("0,1", ["0", "1"]),
        ("2, 0", ["2", "0"]),
        ("GPU-a", ["GPU-a"]),
        ("MIG-a,MIG-b", ["MIG-a", "MIG-b"]),
        ("0,-1,1", ["0"]),
        ("1,none", ["1"]),
        ("0,0", []),
        *((none, []) for none in ("", "-1", "NoDevFiles", "none", "void")),
    ],
)
def test_the_visible_gpus_are_those_that_cuda_would_show(
    shown: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert visible_gpus() == names


def test_without_a_choice_the_driver_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: GPU-1)'\necho '  MIG 1g'\necho 'GPU 1: B (UUID: GPU-2)'\n")
    driver.chmod(0o755)
    assert visible_gpus() == ["0", "1"]


def test_a_process_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    bound: list[int] = []
    cores = os.sched_getaffinity(0)
    monkeypatch.setattr(torch, "set_num_threads", bound.append)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    Slot(3, gpu="1").occupy()
    [slot] = cpu_slots(1, 1)
    slot.occupy()
    assert bound == [3, 1]
    assert os.sched_getaffinity(0) == cores  # another pool would choose the same ones
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.fixture
def mps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of the calls of a stand-in for MPS's control, each with the GPUs that it sees; nothing sleeps."""
    control, calls = tmp_path / "nvidia-cuda-mps-control", tmp_path / "calls"
    control.write_text(f"#!/bin/sh\necho $CUDA_VISIBLE_DEVICES ${{*:-$(cat)}} >> {calls}\n")
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for program in (control, tmp_path / "sleep"):
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return calls


@pytest.mark.parametrize(
    ("chosen", "names"),
    [("2,0", ["0", "1", "0", "1"]), ("GPU-b,GPU-a", ["GPU-b", "GPU-a"] * 2), ("MIG-x", ["MIG-x"] * 2)],
)
def test_jobs_name_a_shared_gpu_as_mps_does(
    chosen: str, names: list[str], mps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MPS sees the chosen GPUs alone, numbered from 0 on."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    with shared_gpus(gpu_slots(visible_gpus(), 2, 1)) as slots:
        assert [slot.gpu for slot in slots] == names
        assert "CUDA_MPS_PIPE_DIRECTORY" in os.environ
    assert mps.read_text().splitlines() == [f"{chosen} -d", f"{chosen} quit"]
    alone = gpu_slots(["3", "1"], 1, 1)
    with shared_gpus(alone) as slots:
        assert slots == alone


@pytest.mark.parametrize("signals", [(), (signal.SIGTERM, signal.SIGHUP)])
def test_mps_ends_with_a_pool_that_is_killed(signals: tuple[int, ...], mps: Path, tmp_path: Path) -> None:
    """Also when everything in its session was asked to stop before."""
    pid = os.fork()
    if pid == 0:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        with shared_gpus(gpu_slots(["0"], 2, 1)):
            for number in signals:
                for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    os.kill(int(child), number)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    end = time.monotonic() + 60
    while list(tmp_path.glob("dynfilt-mps-*")):
        assert time.monotonic() < end, "MPS lives on"
        time.sleep(0.02)
    assert [line.split()[-1] for line in mps.read_text().splitlines()] == ["-d", "quit"]
