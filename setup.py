"""What a wheel holds: everything below the one name `dynfilt`, analysis, conf and sweeps too; no benchmarks."""

from setuptools import find_packages, setup

BESIDE = ("analysis", "conf", "sweeps")  # beside dynfilt/ in a checkout, inside it once installed

setup(
    packages=[
        *find_packages(include=["dynfilt", "dynfilt.*"]),
        *(f"dynfilt.{name}" for name in find_packages(include=["analysis", "analysis.*"])),
        "dynfilt.conf",
        "dynfilt.sweeps",
    ],
    package_dir={f"dynfilt.{name}": name for name in BESIDE},
)
