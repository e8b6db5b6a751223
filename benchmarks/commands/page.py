"""The page of a large study: seconds of `python -m analysis report`, its size, and a click in its legend."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measuring.timing import NO_TIME, Deadline
from benchmarks.reporting.report import Result, Timing, require_any
from dynfilt.installation import PROJECT
from dynfilt.run.folder import CONFIG, EVALUATIONS, PROVENANCE, RESULT, STATUS
from dynfilt.train.settings import resolve_device

# A finished run of 20 evaluations, of which every run of the study is a copy with numbers of its own.
PATTERN = PROJECT / "docs/runs/lab_3x3/dynamic_3x3/seed0"
SEEDS = 10
PAGE, SIZE, PAINTED = "report.html", "page, MB", "until it is painted, ms"
CLICKS = {"a click in the legend": "", "... with all variants shown": "all"}
BROWSER_ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1280,900")
# A button's click with the new layout, and the time until the browser has painted it; the next click takes it back.
CLICK = """
    const [place, done] = arguments;
    const buttons = [...document.querySelectorAll(".curves .legend button[aria-pressed]")];
    const started = performance.now();
    buttons[(7 * (place >> 1)) % buttons.length].click();
    document.body.getBoundingClientRect();
    const ms = performance.now() - started;
    requestAnimationFrame(() => setTimeout(() => done([ms, performance.now() - started])));
"""
CHOOSE = """
    const [words] = arguments;
    [...document.querySelectorAll(".curves button")].find((button) => button.textContent === words).click();
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs", type=int, nargs="+", default=[2000, 10_000], help="sizes of the study, at least 20")
    parser.add_argument("--repetitions", type=int, default=3, help="of the report; five clicks for each")


def run(arguments: argparse.Namespace, deadline: Deadline) -> Result:
    """Make a study of each size, then its page, and open that in headless Chromium where it is installed."""
    if min(arguments.runs) < 2 * SEEDS:
        raise ValueError(f"--runs {min(arguments.runs)}: must be at least {2 * SEEDS}, two variants of {SEEDS} seeds")
    timings = [timing for runs in arguments.runs for timing in _of_size(runs, arguments.repetitions, deadline)]
    require_any(timings)
    return Result("page", resolve_device(arguments.device), timings)


def _of_size(runs: int, repetitions: int, deadline: Deadline) -> list[Timing]:
    case = f"{runs:,} runs, {runs // SEEDS:,} variants"
    report = Timing(case, "python -m analysis report", "ours", figures={SIZE: []})
    clicks = [Timing(case, arm, figures={PAINTED: []}) for arm in CLICKS]
    if not deadline.seconds_left():
        return [each.failed(NO_TIME) for each in (report, *clicks)]
    with tempfile.TemporaryDirectory() as folder:
        made = _study(Path(folder) / "study", runs // SEEDS)
        out = Path(folder) / "report"
        for _ in range(repetitions):
            started = time.perf_counter()
            words = [sys.executable, "-m", "analysis", "report", str(made), "--out", str(out), "--quiet"]
            ended = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
            if ended.returncode:
                failure = " ".join(ended.stderr.strip().splitlines()[-1:]) or f"exit code {ended.returncode}"
                return [report.failed(failure)]
            report.ms.append((time.perf_counter() - started) * 1e3)
            report.figures[SIZE].append((out / PAGE).stat().st_size / 1e6)
        return [report, *_clicked(clicks, out / PAGE, Path(folder) / "profile", 5 * repetitions)]


def _clicked(timings: list[Timing], page: Path, profile: Path, repetitions: int) -> list[Timing]:
    try:
        with browser(profile) as driver:
            driver.get(page.resolve().as_uri())
            for timing, chosen in zip(timings, CLICKS.values(), strict=True):
                if chosen:
                    driver.execute_script(CHOOSE, chosen)
                for place in range(repetitions):
                    ms, painted = driver.execute_async_script(CLICK, place)
                    timing.ms.append(ms)
                    timing.figures[PAINTED].append(painted)
    except ValueError as error:
        return [timing.failed(str(error)) for timing in timings]
    return timings


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """Headless Chromium with an empty profile. Raises ValueError where it or Selenium is not installed."""
    paths = {program: shutil.which(program) for program in ("chromium", "chromedriver")}
    try:
        from selenium import webdriver
    except ImportError:
        webdriver = None
    if not all(paths.values()) or webdriver is None:
        raise ValueError("needs chromium, chromedriver (Debian: chromium-driver) and selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = paths["chromium"]
    for argument in (*BROWSER_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths["chromedriver"]))
    try:
        yield driver
    finally:
        driver.quit()


def _study(folder: Path, variants: int) -> Path:
    """Finished run folders, a learning rate a variant."""
    config, result = (PATTERN / CONFIG).read_text(), json.loads((PATTERN / RESULT).read_text())
    rows = [json.loads(line) for line in (PATTERN / EVALUATIONS).read_text().splitlines()]
    chance = random.Random(0)
    for place in range(variants):
        lr = f"{1e-4 * (place + 1):g}"
        name, level = f"dynamic_3x3,optimizer.lr={lr}" if place else "static_3x3", chance.gauss(0, 0.02)
        text = config.replace("lr: 0.0005", f"lr: {lr}")
        for seed in range(SEEDS):
            run = folder / name / f"seed{seed}"
            run.mkdir(parents=True)
            luck = level + chance.gauss(0, 0.005)
            for file in (STATUS, PROVENANCE):
                shutil.copy(PATTERN / file, run / file)
            (run / CONFIG).write_text(text.replace("seed: 0\n", f"seed: {seed}\n", 1))
            own = {"variant": name, "seed": seed, "config_digest": f"{place:016x}"}
            own["test_accuracy"] = round(result["test_accuracy"] + luck, 4)
            (run / RESULT).write_text(json.dumps(result | own))
            moved = [row | {key: row[key] + luck for key in row if key.endswith("accuracy")} for row in rows]
            (run / EVALUATIONS).write_text("".join(f"{json.dumps(row)}\n" for row in moved))
    return folder
