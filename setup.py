"""What a wheel holds: all below the one name `dynfilt`, analysis, conf, sweeps and finished runs too; no benchmarks."""

from pathlib import Path

from setuptools import find_packages, setup

BESIDE = ("analysis", "conf", "sweeps", "docs")  # beside dynfilt/ in a checkout, inside it once installed

setup(
    packages=[
        *find_packages(include=["dynfilt", "dynfilt.*"]),
        *(f"dynfilt.{name}" for name in find_packages(include=["analysis", "analysis.*"])),
        "dynfilt.conf",
        "dynfilt.sweeps",
        *(["dynfilt.docs"] if Path("docs").is_dir() else []),  # the runs alone, see pyproject.toml
    ],
    package_dir={f"dynfilt.{name}": name for name in BESIDE},
)
