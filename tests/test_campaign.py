"""A small form of the campaign: kills at random moments and inside the writes that matter, and full disks."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT, quiet_environment


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it looks up what a process writes in /proc")
def test_twenty_kills_lose_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaign", "--kills", "20"],
        cwd=ROOT,
        env=quiet_environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    *places, total = done.stdout.splitlines()
    assert re.match(r"2\d kills, \d+ full disks, \d+ runs: 0 lost, 0 torn, 0 wrong, 0 unclear; ", total)
    struck = {place.split(maxsplit=1)[1] for place in places}
    assert {"torn last.pt", "torn result.json", "before seed0", "full seed0"} <= struck
