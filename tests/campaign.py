"""Kill a run anywhere, again and again, and fill its disk: nothing may be lost, torn or other than it would have been.

    python -m tests.campaign [--kills 200] [--seed 0]

Each story is a run from nothing, or one that `rerun=true` begins anew, struck several times and each time started again
by the same command. A strike is a kill -9 at a random moment, a kill -9 before a write or with half of it on disk, or a
disk that is full at a write. The exit code is 1 when anything was lost, torn, wrong or unclear.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # an optimizer imports it, and takes seconds

from dynfilt import cost, experiment
from dynfilt.config.compose import Job
from dynfilt.config.errors import explain
from dynfilt.run.folder import RunFolder
from dynfilt.run.source import source_of
from dynfilt.train import trainer as trainer_module
from dynfilt.train.checkpoint import load_checkpoint
from tests.conftest import TINY, composed
from tests.run_folders import assert_same_outcome, contents, read_rows

OVERRIDES = ("trainer.epochs=8", "trainer.patience=3", "trainer.checkpoint_every_seconds=1e-9", "schedule=cosine")
WRITES = ("replace", "rename", "fsync")
STRIKES_A_STORY = 5
# Where each story is struck once before anything random: what must be hit is not left to chance.
AIMED = ("last.pt", "best.pt", "result.json", "seed0", "test_predictions.npz", "metrics.jsonl", "config.yaml")
DISK_FULL = 28  # the exit code of a process whose disk was full, and that said so in one line
UNCLEAR = 99
FAULTS = ("lost", "torn", "wrong", "unclear")


@dataclass(frozen=True)
class Strike:
    """What happens to one process: at a moment, a share of a whole run's time, or at the n-th write to a file."""

    kind: str  # "moment", "before", "torn" or "full"
    file: str = ""
    count: int = 1
    moment: float = 0.0


@dataclass
class Tally:
    """What the campaign has seen."""

    struck: Counter[str] = field(default_factory=Counter)
    stories: int = 0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(count for place, count in self.struck.items() if not place.startswith("full"))

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.torn or self.wrong or self.unclear)


class Campaign:
    """Stories in folders of their own below `root`, each compared with one run that nothing has struck."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.rng, self.tally = root, random.Random(seed), Tally()
        (root / "empty").mkdir()
        [self.job] = composed(root / "empty", *TINY, *OVERRIDES)
        [self.anew] = composed(root / "empty", *TINY, *OVERRIDES, "rerun=true")
        source_of(self.job.config)  # read once, for all the processes that are forked from this one
        identity = experiment.identify(self.job.config, self.job.choices, self.job.differences)
        self.place = identity.folder(self.job.config["output_root"])
        (root / "whole").mkdir()
        started = time.monotonic()
        assert self._start(root / "whole", self.job, None) == 0
        self.seconds = time.monotonic() - started
        self.whole = root / "whole" / self.place

    def run(self, kills: int) -> Tally:
        """Tell stories until so many processes were killed."""
        aims = [Strike(kind, file) for file in AIMED for kind in ("torn", "before", "full")]
        self.rng.shuffle(aims)
        while self.tally.kills < kills:
            strikes = [aims.pop() for _ in range(min(2, len(aims)))]
            strikes += [self._random_strike() for _ in range(STRIKES_A_STORY - len(strikes))]
            strikes.sort(key=lambda strike: strike.file != "seed0")  # a run is set aside before anything else
            self._story(strikes, anew=self.tally.stories % 2 == 1 or any(strike.file == "seed0" for strike in strikes))
        return self.tally

    def _random_strike(self) -> Strike:
        if self.rng.random() < 0.5:
            return Strike("moment", moment=self.rng.random())
        file = self.rng.choice(["", "", *AIMED])
        return Strike(self.rng.choice(["before", "torn", "full"]), file, self.rng.randrange(1, 6 if file else 60))

    def _story(self, strikes: list[Strike], anew: bool) -> None:
        number = self.tally.stories
        self.tally.stories += 1
        root = self.root / f"story{number}"
        root.mkdir()
        folder = root / self.place
        if anew:
            shutil.copytree(self.whole, folder)
        job, step = self.anew if anew else self.job, 0
        for strike in strikes:
            code = self._start(root, job, strike)
            if code == 0:  # the run ended before it was struck
                break
            self._note(strike, code, f"story {number} {strike}")
            step = self._check(folder, step, f"story {number} {strike}")
            if anew and not any(folder.parent.glob(".seed0.[0-9]*")):
                step = 0  # that was the run that will be set aside, or that is back since the new one did not begin
        else:
            code = self._start(root, job, None)
        if code != 0:
            self.tally.wrong.append(f"story {number} ended with {code}")
            return
        try:
            assert_same_outcome(folder, self.whole, ignored=frozenset({"flops"}))
            for aside in folder.parent.glob(".seed0.1"):
                before, after = contents(self.whole), contents(aside)
                assert all(before[name] == after.get(name) for name in before if name != "lock"), "set aside, changed"
        except AssertionError as error:
            where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
            self.tally.wrong.append(f"story {number} {strikes}: {error} {where}")
        shutil.rmtree(root)

    def _note(self, strike: Strike, code: int, where: str) -> None:
        if code == -signal.SIGKILL or (strike.kind == "full" and code == DISK_FULL):
            self.tally.struck[" ".join(filter(None, (strike.kind, strike.file)))] += 1
        else:
            self.tally.unclear.append(f"{where} ended with {code}")

    def _check(self, folder: Path, step: int, where: str) -> int:
        """Look at what a strike has left; the step of its last checkpoint is returned."""
        for name in ("last", "best"):
            file = RunFolder(folder).checkpoint(name)  # type: ignore[arg-type]
            if file.exists():
                try:
                    state = load_checkpoint(file)
                except ValueError as error:
                    self.tally.torn.append(f"{where}: {error}")
                    continue
                if name == "last" and state["step"] < step:
                    self.tally.lost.append(f"{where}: step {step}, then {state['step']}")
                step = max(step, state["step"]) if name == "last" else step
        try:
            RunFolder(folder).snapshot()
            steps = [row["step"] for row in RunFolder(folder).evaluations()]
            assert steps == sorted(steps)
            assert len(read_rows(self.whole)) >= len(steps)
        except (ValueError, AssertionError, KeyError) as error:
            self.tally.torn.append(f"{where}: {error}")
        return step

    def _start(self, root: Path, job: Job, strike: Strike | None) -> int:
        """Start a process that runs the job in a folder and is struck; its exit code, negative for a signal."""
        process = os.fork()
        if process == 0:
            os._exit(_work(root, job, strike))
        if strike is not None and strike.kind == "moment":
            time.sleep(strike.moment * self.seconds)
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        return os.waitstatus_to_exitcode(status)


def _work(root: Path, job: Job, strike: Strike | None) -> int:
    """The life of one process."""
    os.chdir(root)
    with open(root / "log.txt", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    # What takes longer than the training, and writes nothing.
    experiment.collect_provenance = lambda device: {}  # type: ignore[assignment]
    experiment.git_state = lambda: (None, None)  # type: ignore[assignment]
    cost.count_flops = lambda *_: 0  # type: ignore[assignment]
    cost.measure_latency_ms = lambda *_: 1.0  # type: ignore[assignment]
    trainer_module.STEPS_BETWEEN_LOSS_CHECKS = 1
    if strike is not None and strike.kind != "moment":
        _strike_writes(strike)
    try:
        experiment.run(job)
    except OSError as error:
        said = explain(error)
        return DISK_FULL if "No space left on device: free some" in said else UNCLEAR
    except ValueError as error:
        return DISK_FULL if "No space left on device" in str(error) else UNCLEAR
    except BaseException as error:
        print(f"unclear: {error!r}", flush=True)
        return UNCLEAR
    return 0


def _strike_writes(strike: Strike) -> None:
    """Have the n-th write to a file, or to any, end this process or find the disk full."""
    left = [strike.count]

    def guarded(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{arguments[0]}") if isinstance(arguments[0], int) else str(arguments[0])
            if Path(path).name.removesuffix(".tmp") != strike.file and strike.file:
                return write(*arguments, **options)
            left[0] -= 1
            if left[0] or strike.kind == "full":
                if left[0] > 0:
                    return write(*arguments, **options)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # and it stays full
            if strike.kind == "torn" and isinstance(arguments[0], int):
                size = os.fstat(arguments[0]).st_size
                # Rows are appended: those before the last are on the disk already.
                os.ftruncate(arguments[0], size - 9 if path.endswith(".jsonl") else size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in WRITES:
        setattr(os, name, guarded(getattr(os, name)))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a forked process has no other thread
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dynfilt-campaign-") as root:
        tally = Campaign(Path(root), options.seed).run(options.kills)
    for place, count in sorted(tally.struck.items()):
        print(f"{count:5}  {place}")
    for words in FAULTS:
        for line in getattr(tally, words):
            print(f"{words}: {line}", file=sys.stderr)
    full = sum(tally.struck.values()) - tally.kills
    found = ", ".join(f"{len(getattr(tally, words))} {words}" for words in FAULTS)
    print(f"{tally.kills} kills, {full} full disks, {tally.stories} runs: {found}; {time.monotonic() - started:.0f} s")
    return 0 if tally.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
