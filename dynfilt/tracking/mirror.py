"""The scalars of a run, mirrored to Weights & Biases: online when it answers, else into the run's own folder.

The run folder is the truth. Whatever W&B does after the start, training goes on: an error of the client is
printed in one line, once, and the mirror does nothing from then on.
"""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import shortened
from dynfilt.run.secrets import secrets_hidden
from dynfilt.tracking.reachability import PROBE_SECONDS, is_reachable, run_with_timeout
from dynfilt.wording import one_line

if TYPE_CHECKING:
    import wandb

MODES = ("auto", "online", "offline", "off")
START_SECONDS = 10.0
FINISH_SECONDS = 20.0
TEAR_DOWN_SECONDS = 10.0
# W&B's own limits, in characters; what is longer can never be uploaded.
LONGEST_JOB_TYPE, LONGEST_NAME = 64, 128
NOT_IN_PROJECTS = "/\\#?%:"
# What the client says of an id whose run was deleted (HTTP 409).
WAS_DELETED = "previously created and deleted"
# Keys of W&B's summary that tell how a run ended without a result.
STATE, ERROR, ERROR_TYPE = "state", "error", "error_type"


@dataclass(frozen=True)
class Tracking:
    """The user's settings for W&B.

    Raises ValueError for a mode that is not one of MODES, and for a project that W&B would refuse.
    """

    mode: str
    project: str
    entity: str | None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            hint = "; write 'off' with quotes in YAML" if self.mode is False else ""
            raise ValueError(f"tracking.mode={self.mode!r} is not one of {', '.join(MODES)}{hint}")
        if self.mode == "off":
            return
        if not 0 < len(self.project) <= LONGEST_NAME or any(sign in self.project for sign in NOT_IN_PROJECTS):
            raise ValueError(
                f"tracking.project={self.project!r}: W&B takes 1 to {LONGEST_NAME} characters, "
                f"none of {NOT_IN_PROJECTS}"
            )


class Mirror:
    """One W&B run, or none: a context manager whose methods never raise, and wait for W&B only at the end.

    The end takes at most FINISH_SECONDS, and TEAR_DOWN_SECONDS more where that was too short. Leaving the body by an
    exception marks the run as failed.
    """

    def __init__(self, run: wandb.Run | None, folder: Path) -> None:
        self._run = run
        self.run_id = run.id if run else None
        self._saved = RunFolder(folder).wandb_folder / Path(run.dir).parent.name if run else folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            kind_of_error = type(error).__name__
            state = RunState.INTERRUPTED if isinstance(error, KeyboardInterrupt) else RunState.FAILED
            outcome = {STATE: state.value, ERROR_TYPE: kind_of_error, ERROR: f"{kind_of_error}: {error}"}
            self.note(outcome)
        self._close(exit_code=0 if error is None else 1)

    def log(self, row: Mapping[str, Any]) -> None:
        """Sends one row of metrics.jsonl; what is None there is absent here."""
        values = {key: value for key, value in row.items() if value is not None}
        self._attempt(lambda run: run.log(values))

    def note(self, facts: Mapping[str, Any]) -> None:
        """Writes facts into the summary."""
        self._attempt(lambda run: run.summary.update(dict(facts)))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes every field of result.json into the summary, unrounded, and ends the run as successful."""
        self.note(result)
        self._close(exit_code=0)

    def _close(self, exit_code: int) -> None:
        self._attempt(lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _attempt(self, action: Callable[[wandb.Run], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            self._run = None
            command = f"wandb sync {shlex.quote(str(self._saved))}"
            _say(f"W&B stopped ({one_line(error)}), the run goes on; upload the rest with: {command}")
            end_service()


def open_mirror(
    tracking: Tracking,
    *,
    folder: Path,
    run_id: str,
    study: str,
    variant: str,
    seed: int,
    config: dict[str, Any],
) -> Mirror:
    """Starts the W&B run of one job, in `folder`/wandb, and prints in one line where it goes.

    `config` is made of plain containers. A server that does not answer costs at most about PROBE_SECONDS or
    START_SECONDS. Raises ValueError only where the user forces `online` and that cannot be had; no other
    trouble with W&B reaches the caller.
    """
    mode, reason = _wanted(tracking.mode)
    if mode == "off":
        return Mirror(None, folder)
    identity: dict[str, Any] = {
        "project": tracking.project,
        "entity": tracking.entity,
        "dir": str(folder),
        "id": run_id,
        "group": shortened(study, LONGEST_NAME),
        "job_type": shortened(variant, LONGEST_JOB_TYPE),
        "name": f"{shortened(variant, LONGEST_NAME - len(f'/seed{seed}'))}/seed{seed}",
        "config": config,
    }
    if mode in ("auto", "online"):
        try:
            run = _start_online_or_anew(identity)
        except Exception as error:
            reason = f" ({one_line(error)})"
        else:
            _say(f"online at {run.url}")
            return Mirror(run, folder)
    if mode == "online":
        raise ValueError(f"tracking=online fails{reason}; run `wandb login`, or choose auto or offline")
    return _open_offline(identity, folder, reason)


def _wanted(mode: str) -> tuple[str, str]:
    """The mode, with `auto` obeying what W&B was told here, and the reason to print in brackets."""
    if mode != "auto":
        return mode, ""
    wish, told_by = _told_here()
    if wish == "disabled":
        _say(f"off ({told_by})")
        return "off", ""
    return ("offline", f" ({told_by})") if wish in ("offline", "dryrun") else (mode, "")


def _told_here() -> tuple[str, str]:
    """The mode that W&B's environment variables or `wandb offline|disabled` in this folder ask for, and which did."""
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on"):
        return "disabled", f"WANDB_DISABLED={os.environ['WANDB_DISABLED']}"
    if wish := os.environ.get("WANDB_MODE", "").lower():
        return wish, f"WANDB_MODE={wish}"
    try:
        import wandb

        wish = wandb.setup(wandb.Settings(quiet=True, show_info=False)).settings.mode
    except Exception:  # it is not there, or told something that it does not take: said where the run would start
        return "", ""
    return wish, f"`wandb {wish}` in this folder"


def _start_online_or_anew(identity: dict[str, Any]) -> wandb.Run:
    """Starts an online run, under another id where W&B has deleted the one of that id, and bars it for ever."""
    try:
        return _start_online(identity)
    except Exception as error:
        if not _was_deleted(identity, error):
            raise
        identity["id"] = new_run_id()
        _say(f"its run was deleted on the server; a new one begins there, {identity['id']}")
        return _start_online(identity)


def _was_deleted(identity: dict[str, Any], error: Exception) -> bool:
    """Whether the server bars an id; the client tries again until its time is up, and leaves the reason in its log."""
    logs = RunFolder(Path(identity["dir"])).wandb_folder.glob(f"run-*-{identity['id']}/logs/*.log")
    return any(WAS_DELETED in text for text in (str(error), *(log.read_text(errors="replace") for log in logs)))


def new_run_id() -> str:
    """An id that no W&B run has."""
    return secrets.token_hex(8)


def _start_online(identity: dict[str, Any]) -> wandb.Run:
    """Starts an online run; raises whatever stands in its way, within a bounded time and without a prompt."""
    import wandb

    if wandb.run is not None:
        wandb.finish()  # the client does not log in while a run is open
    server = _set_up("online").base_url
    if not wandb.login(prompt=False, verify=False):
        raise ConnectionError("no API key")
    if not is_reachable(server):
        raise ConnectionError(f"no answer from {server} within {PROBE_SECONDS} s")
    return _init(identity)


def _open_offline(identity: dict[str, Any], folder: Path, reason: str) -> Mirror:
    try:
        _set_up("offline")
        run = _init(identity)
    except Exception as error:
        _say(f"off, W&B does not start ({one_line(error)})")
        return Mirror(None, folder)
    _say(f"offline{reason}; upload later with: wandb sync {shlex.quote(str(folder))}/wandb/offline-run-*")
    return Mirror(run, folder)


def _set_up(mode: Literal["online", "offline"]) -> wandb.Settings:
    """Sets the settings of this process's later runs, and gives them back.

    Of the client's output, only warnings and errors are shown. Commit and package versions are not collected
    a second time: they cost 0.1 s a run and provenance.json has them.
    """
    import wandb

    wishes = wandb.Settings(
        mode=mode,
        console="off",
        quiet=True,
        show_info=False,
        disable_git=True,
        disable_code=True,
        save_code=False,
        init_timeout=START_SECONDS,
        finish_timeout=FINISH_SECONDS,
        finish_timeout_raises=True,
        # Asking the server who is logged in only decorates a message, and waits up to 5 s.
        x_disable_viewer=True,
        x_save_requirements=False,
        # The default of 15 s would lose as much to a kill.
        x_transaction_log_flush_interval=1.0,
    )
    with secrets_hidden():  # the client notes the command line, too
        return wandb.setup(wishes).settings


def _init(identity: dict[str, Any]) -> wandb.Run:
    import wandb

    try:
        silent = wandb.Settings(silent=True)  # a run's farewell; warnings are still shown, see `_set_up`
        with secrets_hidden():
            run = wandb.init(**identity, resume="allow", reinit="finish_previous", settings=silent)
        # Not W&B's own step: it starts anew, or is renumbered, when a run is resumed.
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
    except Exception:
        # The client holds the id of a run that failed to start, and would refuse the offline run of that id.
        end_service()
        raise
    return run


def end_service() -> None:
    """Ends W&B's service process, if one was started, so that neither the next run nor the exit trips over it.

    The client waits without a limit, at the interpreter's exit too; a process that has not ended after
    TEAR_DOWN_SECONDS is left behind and ends with this one.
    """
    if not sys.modules.get("wandb"):
        return
    import wandb

    def end() -> None:
        with suppress(Exception, SystemExit):
            wandb.teardown(exit_code=1)

    run_with_timeout(end, TEAR_DOWN_SECONDS)
    wandb.run = None  # a run whose process has died cannot end, and would bar the next one's login


def _say(text: str) -> None:
    print(f"tracking: {text}")
