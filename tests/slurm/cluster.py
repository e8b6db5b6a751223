"""A real Slurm of two nodes on this machine: every file in one folder, every daemon a child of this process."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

DAEMONS = ("munged", "slurmctld", "slurmd")
NODES = ("n1", "n2")
CONFIG = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job goes back to work only when the credential of its last try has expired: after 120 s where nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
KillWait=60
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={names} NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2 Gres=gpu:1 State=UNKNOWN
PartitionName=normal Nodes={names} Default=YES State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={names} State=UP PriorityTier=2
"""


class Cluster:
    """Starts when it is entered; `environment` holds what Slurm's commands need to find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        (self.folder / "state").mkdir()
        for node in NODES:
            (self.folder / f"spool.{node}").mkdir()
        (self.folder / "gpu").touch()  # nobody looks into a GPU's file
        (self.folder / "munge.key-file").write_bytes(os.urandom(128))
        (self.folder / "munge.key-file").chmod(0o600)
        names = f"n[1-{len(NODES)}]"
        words = {"host": socket.gethostname().partition(".")[0], "user": getpass.getuser(), "names": names}
        config = CONFIG.format(folder=self.folder, ports=_three_ports(), **words)
        (self.folder / "slurm.conf").write_text(config)
        (self.folder / "gres.conf").write_text(f"NodeName={names} Name=gpu File={self.folder}/gpu\n")
        # munged removes a seed file that it does not like: it is named so that it is never one of the system's.
        files = {name: f"munge.{name}" for name in ("socket", "key-file", "pid-file", "log-file", "seed-file")}
        try:
            self._start("munged", "--foreground", "--force",
                        *(f"--{name}={self.folder / file}" for name, file in files.items()))  # fmt: skip
            wait_until(lambda: (self.folder / "munge.socket").exists())
            self._start("slurmctld", "-D", "-c")
            for node in NODES:
                self._start(node, "-D", "-N", node, program="slurmd")
            wait_until(lambda: self.call("sinfo", "--noheader", "--states=idle", "--format=%D") == str(len(NODES)))
        except BaseException as error:
            self._stop()
            logs = "".join(f"\n{log.name}: {log.read_text()[-600:]}" for log in self.folder.glob("*.log"))
            raise RuntimeError(f"Slurm does not start: {error}{logs}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.call("scancel", "--user", getpass.getuser())
        for job in self._running_jobs():
            self._kill_processes(job)
        self._stop()

    def call(self, *words: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip()

    def power_off(self, node: str) -> None:
        """End all that runs on a node at once, as a power cut does, and let the controller know at once."""
        self._daemons.pop(node).kill()
        for job in self._running_jobs(node):
            self._kill_processes(job)
        self.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=power cut")

    def power_on(self, node: str) -> None:
        """Start a node again that was powered off."""
        self._start(node, "-D", "-N", node, program="slurmd")
        wait_until(lambda: self.call("sinfo", "--noheader", "--states=idle", f"--nodes={node}", "--format=%D") == "1")

    def _running_jobs(self, node: str = ",".join(NODES)) -> list[str]:
        return self.call("squeue", "--noheader", "--states=all", f"--nodelist={node}", "--format=%A").split()

    def _kill_processes(self, job: str) -> None:
        """Slurm's own processes first: they would report how the others ended."""
        mine = [(pid, words) for pid, words, variables in _processes() if f"SLURM_CONF={self.folder}" in variables
                and (words.startswith(f"slurmstepd: [{job}.") or f"\0SLURM_JOB_ID={job}\0" in variables)]  # fmt: skip
        for pid, _ in sorted(mine, key=lambda process: not process[1].startswith("slurmstepd")):
            _kill(pid)

    def _start(self, name: str, *words: str, program: str = "") -> None:
        with open(self.folder / f"{name}.out.log", "ab") as log:
            self._daemons[name] = subprocess.Popen(
                [program or name, *words], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _stop(self) -> None:
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
            daemon.wait()


def is_installed() -> bool:
    """Whether this machine has all of Slurm's programs."""
    return all(shutil.which(name, path=_path()) for name in DAEMONS)


def wait_until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Raises TimeoutError when a condition does not come true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.1)


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _processes() -> Iterator[tuple[int, str, str]]:
    """Number, command line and environment of every process that may be looked at."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, variables = (
                (folder / name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")
            )
        except OSError:
            continue
        yield int(folder.name), words, f"\0{variables}"


def _three_ports() -> list[int]:
    """Three free ports in a row."""
    for first in range(17000, 30000, 10):
        try:
            for port in range(first, first + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return list(range(first, first + 3))
    raise OSError("no free ports")
