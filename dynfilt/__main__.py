"""The command `dynfilt`: run and watch runs, then compare them, from any folder.

Its words after `run` and `plan` are those of `python run.py`, its other commands those of `python -m analysis`.
Declared sweeps are found by name (`dynfilt run -cn lab_3x3`), configs of your own by `-cd FOLDER`, and modules in the
working directory can be named in a config.
"""

import os
import sys
from importlib import import_module

from dynfilt.installation import CONF, RUN_COMMAND, version
from dynfilt.wording import until_ctrl_c

COMMANDS = {
    "run": "train: one run, a grid (-m), or a declared sweep (-cn lab_3x3)",
    "plan": "list the jobs of the same words with their state and the time left; run nothing",
    "status": "how far the runs under some folders are",
}


def main() -> int:
    """Run the command in sys.argv; return its exit code, 2 for a wrong command, 130 after Ctrl-C."""
    return until_ctrl_c(_run)


def _run() -> int:
    sys.path.append(os.getcwd())  # last, so that a file of the user's hides no installed package
    command, *words = sys.argv[1:] or [""]
    if command == "--version":
        print(f"dynfilt {version()}")
        return 0
    if command == "status":
        from dynfilt.launch import status

        return status.run(words, "dynfilt status")
    if command in COMMANDS:
        from dynfilt import command_line

        sys.argv = [RUN_COMMAND, *words, *(["mode=plan"] if command == "plan" else [])]
        return command_line.main()
    analysis = import_module("dynfilt.analysis.__main__")
    if command in analysis.COMMANDS:
        return analysis.main([command, *words], "dynfilt")
    everything = COMMANDS | {name: summary for name, (_, summary) in analysis.COMMANDS.items()}
    if command in ("-h", "--help"):
        print("usage: dynfilt COMMAND ...\n", __doc__, sep="\n")
        print(*(f"  {name:<14}{summary}" for name, summary in everything.items()), sep="\n")
        print(f"\n`dynfilt COMMAND --help` explains each. Configs: {CONF}")
        return 0
    problem = f"no command {command}" if command else "which command?"
    hint = f"; `dynfilt run {command} ...` runs" if command.startswith("-") or "=" in command else ""
    print(f"error: {problem}; the commands are: {', '.join(everything)}{hint}", file=sys.stderr)
    return int(analysis.USAGE_ERROR)


if __name__ == "__main__":
    sys.exit(main())
