"""Where jobs run: a share of the CPU cores, or places on the visible GPUs."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

# Measured, see docs/scale.md: two small runs with a thread each finish sooner than one after the other with two
# threads; and a GPU under a small network idles until about eight share it.
THREADS_PER_JOB = 1
JOBS_PER_GPU = 8
MPS_CONTROL = "nvidia-cuda-mps-control"
# Waits until the process that holds its standard input has ended, however it ended, then ends MPS too; the jobs, which
# stop with a checkpoint when they find their pool gone, get the time for it.
MPS_KEEPER = f"""
trap '' HUP INT TERM USR1 USR2
read -r _
sleep 30
echo quit | {MPS_CONTROL}
rm -rf -- "$CUDA_MPS_PIPE_DIRECTORY"
"""
CONTROL_GROUPS = Path("/sys/fs/cgroup")
GPU_NAME = re.compile(r"\d+|(GPU|MIG)-\S+")


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time: its threads, and its GPU as CUDA numbers it; None is what a single run would take.

    No job is bound to cores: pools on one machine know nothing of each other, and would choose the same ones.
    """

    threads: int | None = None
    gpu: str | None = None

    def occupy(self) -> None:
        """Bind this process to the slot. Call before CUDA or a thread pool is used."""
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu
        if self.threads is not None:
            import torch

            torch.set_num_threads(self.threads)


def cpu_slots(slots: int | None, threads: int | None) -> list[Slot]:
    """Shares of `threads` of the cores this process may use; as many as there is room for, or `slots`.

    Raises ValueError when more slots are asked for than there are cores.
    """
    cores = available_cores()
    if slots is not None and threads is None:
        threads = max(1, cores // slots)
    threads = threads or THREADS_PER_JOB
    slots = slots or max(1, cores // threads)
    if slots * threads > cores:
        raise ValueError(
            f"hydra.launcher: {slots} slots of {threads} threads need {slots * threads} cores, this machine gives "
            f"{cores}; choose fewer slots or threads"
        )
    return [Slot(threads)] * slots


def gpu_slots(gpus: list[str], per_gpu: int | None, threads: int | None) -> list[Slot]:
    """`per_gpu` places on each GPU, handed out GPU by GPU in turn; the CPU cores are shared out among them."""
    per_gpu = per_gpu or JOBS_PER_GPU
    threads = threads or max(1, available_cores() // (len(gpus) * per_gpu))
    return [Slot(threads, gpu=gpu) for _ in range(per_gpu) for gpu in gpus]


def available_cores() -> int:
    """How many cores this process may use, no more than its container's CPU quota or Slurm allows."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = int(os.environ.get("SLURM_CPUS_PER_TASK", allowed))
    return max(1, min(allowed, granted, _quota_cores()))


def visible_gpus() -> list[str]:
    """The GPUs that CUDA would show, as CUDA_VISIBLE_DEVICES names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = list(itertools.takewhile(GPU_NAME.fullmatch, (name.strip() for name in chosen.split(","))))
        return names if len(set(names)) == len(names) else []  # as CUDA does: none where one is named twice
    if not shutil.which("nvidia-smi"):
        return []
    done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    gpus = [line for line in done.stdout.splitlines() if line.startswith("GPU ")]
    return [str(number) for number in range(len(gpus))]


@contextmanager
def shared_gpus(slots: list[Slot]) -> Iterator[list[Slot]]:
    """Let the processes of several slots on one GPU run at the same time, by NVIDIA's MPS, as long as this lasts; these
    are the slots by the names that GPUs have there.

    Without it their kernels take turns and nothing is won. An MPS that is there already is used as it is.
    """
    several = len(slots) > len({slot.gpu for slot in slots})
    if not several or slots[0].gpu is None or "CUDA_MPS_PIPE_DIRECTORY" in os.environ or not shutil.which(MPS_CONTROL):
        yield slots
        return
    gpus = list(dict.fromkeys(slot.gpu for slot in slots if slot.gpu is not None))
    with tempfile.TemporaryDirectory(prefix="dynfilt-mps-") as folder:
        places = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
        started = subprocess.run(
            [MPS_CONTROL, "-d"], env={**os.environ, **places, **visible}, capture_output=True, check=False
        )
        if started.returncode:
            print("launcher: MPS does not start; jobs on one GPU take turns", file=sys.stderr)
            yield slots
            return
        os.environ.update(places)
        keeper = subprocess.Popen(
            ["sh", "-c", MPS_KEEPER], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            # MPS numbers the GPUs that it sees from 0 on; a UUID stays what it is.
            yield [replace(slot, gpu=str(gpus.index(slot.gpu)) if slot.gpu.isdigit() else slot.gpu)
                   for slot in slots if slot.gpu is not None]  # fmt: skip
        finally:
            subprocess.run([MPS_CONTROL], input=b"quit\n", env=os.environ.copy(), capture_output=True, check=False)
            keeper.kill()
            keeper.communicate()
            for name in places:
                os.environ.pop(name, None)


def _quota_cores() -> int:
    """Whole cores of the smallest CPU quota of this process's control group and those above it; a very large number
    where there is none."""
    quotas = []
    for folder in (own := CONTROL_GROUPS / _own_control_group(), *own.parents):
        with contextlib.suppress(OSError, ValueError):
            microseconds, period = (folder / "cpu.max").read_text().split()
            quotas.append(max(1, int(microseconds) // int(period)))
    if quotas:
        return min(quotas)
    with contextlib.suppress(OSError, ValueError):
        folder = CONTROL_GROUPS / "cpu"
        quota, period_ = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return max(1, quota // period_) if quota > 0 else 2**16
    return 2**16


def _own_control_group() -> str:
    """This process's control group of version 2, below the root of those that it sees; empty for the root itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::/") and ".." not in line:
                return line.removeprefix("0::/")
    return ""
