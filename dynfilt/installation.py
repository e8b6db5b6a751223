"""What differs between a checkout and an installed package: where configs and sweeps are, and what runs them."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = not (PACKAGE / "conf").is_dir()
PROJECT = PACKAGE.parent if IS_CHECKOUT else PACKAGE
CONF = PROJECT / "conf"
SWEEPS = PROJECT / "sweeps"
RUN_COMMAND = "dynfilt run"  # the installed command's sys.argv[0] in place of a file, see __main__.py
