"""Memory that a training step frees is there for the next one."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
import torch.nn.functional as F
from dynfilt.train.memory import keep_freed_memory

weight, images = torch.randn(16, 3, 3, 3, requires_grad=True), torch.randn(64, 3, 128, 128)

def faults_a_step(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        F.conv2d(images, weight, padding=1).relu().square().mean().backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // steps

faults_a_step(2)
left_alone = faults_a_step(2)
keep_freed_memory()
faults_a_step(6)
print(left_alone, faults_a_step(6))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has other habits")
def test_a_step_asks_the_system_for_little_of_what_the_one_before_has_freed() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    left_alone, kept = map(int, done.stdout.split())
    assert kept < left_alone / 4
