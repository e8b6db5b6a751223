"""A network and images of a few numbers, for tests that need many whole runs, and a way to stop one anywhere."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynfilt.data.bundle import ImageData, Split
from dynfilt.layers.dyconv import DYConv2d

# "9@17" in this environment variable: the process sends itself signal 9 within its 17th training step.
SIGNAL_AT_STEP = "TINY_SIGNAL_AT_STEP"


class TinyNet(nn.Module):
    """All that a resumed run can get wrong: a temperature, batch statistics, dropout. (B, 3, 32, 32) -> scores."""

    def __init__(self, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.dynamic = DYConv2d(3, 4, 3, padding=1, num_kernels=2)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(16, num_classes)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            self._obey_signal()
        x = F.relu(self.norm(self.dynamic(F.avg_pool2d(x, 4))))
        return self.fc(self.dropout(F.avg_pool2d(x, 4).flatten(1)))

    def _obey_signal(self) -> None:
        number, _, step = os.environ.get(SIGNAL_AT_STEP, "0@0").partition("@")
        if self.steps == int(step):
            os.kill(os.getpid(), int(number))


def tiny_data(num_classes: int, split_seed: int, flip: bool, pad: int) -> ImageData:
    """Noise, a little brighter in a place of its own for each class."""
    generator = torch.Generator().manual_seed(split_seed)

    def split(count: int) -> Split:
        labels = torch.arange(count) % num_classes
        images = torch.randint(0, 241, (count, 3, 32, 32), generator=generator)
        for index, label in enumerate(labels.tolist()):
            images[index, label % 3, 8 * (label % 4) : 8 * (label % 4) + 8] += 15
        return Split(images.to(torch.uint8), labels)

    names = tuple(f"class {number}" for number in range(num_classes))
    half = (0.5, 0.5, 0.5)
    return ImageData("tiny", split(60), split(20), split(20), names, half, half, flip, pad)


class FaultyNet(TinyNet):
    """TinyNet that does something terrible within its `at`-th training step, when `seed` is in `faults`.

    faults: SEED:FAULT, spaces between; FAULT is `raise`, `leave`, `exit`, `kill`, `segfault`, `memory`, `hang`, `talk`,
    `chatter`, which never ends, or `pause`, which waits for a signal. With `once`, a folder, only the first time.
    """

    def __init__(self, num_classes: int, dropout: float, seed: int, faults: str, at: int, once: str) -> None:
        super().__init__(num_classes, dropout)
        self.fault, self.at = dict(fault.split(":") for fault in faults.split()).get(str(seed), ""), at
        self.mark = os.path.join(once, f"seed{seed}") if once else ""

    @staticmethod
    def _talk() -> None:
        """More at once than a pipe takes in one piece, from several threads, with what UTF-8 has no bytes for."""

        def lines(letter: str) -> None:
            for _ in range(50):
                print(f"{letter * 30_000}\n", end="", file=sys.stderr if letter == "b" else sys.stdout)

        threads = [threading.Thread(target=lines, args=letter) for letter in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print("caf\udce9 \u00fc", end="\n\nunended")

    def _obey_signal(self) -> None:
        if self.steps != self.at or not self.fault or (self.mark and os.path.exists(self.mark)):
            return
        if self.mark:
            os.mkdir(self.mark)
        match self.fault:
            case "raise":
                raise RuntimeError("this layer is broken")
            case "leave":
                sys.exit("a reason of its own")
            case "exit":
                os._exit(0)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "segfault":
                ctypes.string_at(0)
            case "memory":
                resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
                self.much = torch.ones(2**40)
            case "hang":
                time.sleep(3600)
            case "talk":
                self._talk()
            case "chatter":
                while True:
                    print("trying again")
            case "pause":
                signal.pause()
