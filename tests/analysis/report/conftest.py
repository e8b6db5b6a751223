"""Studies with curves, and a real browser that opens their pages from disk."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from tests.run_folders import contents

WriteRun = Callable[..., Path]
# A browser that asks nobody anything by itself; its sandbox does not start for root.
BROWSER_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NO_JAVASCRIPT = {"profile.managed_default_content_settings.javascript": 2}
HOSTILE = "</script><script>alert('x')</script>\u2028<b>&amp;`*_[x](http://evil.example)"


@pytest.fixture
def write_curves(write_run: WriteRun) -> WriteRun:
    """Writes a run folder with `evaluations` rows of curves that rise to the accuracy."""

    def write(variant: str, seed: int, accuracy: float, evaluations: int = 20, **run: Any) -> Path:
        folder = write_run(variant, seed, accuracy, **run)
        lines = []
        for i in range(1, evaluations + 1):
            level = accuracy * (1 - math.exp(-5 * i / evaluations)) + 0.01 * math.sin(i * (seed + 2))
            row = {"epoch": i, "step": 32 * i, "train_accuracy": level, "val_accuracy": level - 0.02}
            lines.append(json.dumps({**row, "train_loss": 1.5 - level, "val_loss": 1.6 - level, "seconds": 1.0 * i}))
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        return folder

    return write


@pytest.fixture
def study(write_curves: WriteRun) -> WriteRun:
    """Three variants of three seeds with curves."""
    for seed in range(3):
        write_curves("static_3x3", seed, 0.66 + seed / 100, parameters=999_700)
        write_curves("dynamic_3x3", seed, 0.68 + seed / 90, parameters=2_450_000)
        write_curves("bypass_3x3", seed, 0.72 + seed / 95, parameters=12_345)
    return write_curves


@pytest.fixture(scope="session")
def written_before() -> dict[Any, Path]:
    """Runs and options -> the folder of their report."""
    return {}


@pytest.fixture
def report(
    written_before: dict[Any, Path], tmp_path_factory: pytest.TempPathFactory, coarse_figures: None
) -> Callable[..., tuple[str, str]]:
    """Writes a report of `outputs` by the command line, and returns the page and the Markdown.

    Drawing takes a second or two, so that the report of equal runs with equal options is that of an earlier test;
    `anew` draws it in any case.
    """

    def write(*options: str, anew: bool = False) -> tuple[str, str]:
        key = (options, tuple(contents(Path("outputs")).items()))
        if anew or key not in written_before or "--pictures" in options:
            assert main(["report", "outputs", "--out", "written", *options]) == 0
            kept = tmp_path_factory.mktemp("report")
            written_before[key] = Path(shutil.copytree("written", kept, dirs_exist_ok=True))
        else:
            shutil.copytree(written_before[key], "written", dirs_exist_ok=True)
        page, document = (Path("written", name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
        return page, document

    return write


def started(folder: Path, preferences: dict[str, Any]) -> Iterator[Any]:
    """A browser with an empty profile."""
    for program in ("chromium", "chromedriver"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (Debian: apt install chromium chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (*BROWSER_ARGUMENTS, f"--user-data-dir={folder}"):
        options.add_argument(argument)
    options.add_experimental_option("prefs", preferences)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium."""
    yield from started(tmp_path_factory.mktemp("browser"), {})


@pytest.fixture
def browser_without_javascript(tmp_path: Path) -> Iterator[Any]:
    """Headless Chromium that runs no script."""
    yield from started(tmp_path / "browser", NO_JAVASCRIPT)


def shown(browser: Any, width: int = 1280, theme: str = "light") -> None:
    """Open the written report in a window of a width in CSS pixels, by light or dark."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(Path("written/report.html").resolve().as_uri())
