"""What differs between a checkout and an installed package: configs and sweeps, version, and what runs them."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = not (PACKAGE / "conf").is_dir()
PROJECT = PACKAGE.parent if IS_CHECKOUT else PACKAGE
CONF = PROJECT / "conf"
SWEEPS = PROJECT / "sweeps"
# Whose versions a run notes, in this order, after Python's.
PACKAGES = ("dynfilt", "torch", "torchvision", "hydra-core", "omegaconf", "numpy", "wandb")
RUN_COMMAND = "dynfilt run"  # the installed command's sys.argv[0] in place of a file, see __main__.py


def version() -> str:
    """The version of this code: a checkout's own, whatever is installed beside it."""
    if IS_CHECKOUT:
        import tomllib

        return str(tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    from importlib import metadata

    return metadata.version("dynfilt")
