"""The lock of a run's folder: one process works on it, for as long as that process lives."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import Self

try:
    import fcntl
except ImportError:  # Windows: folders can be read there
    fcntl = None  # type: ignore[assignment]

NAME = "lock"
# Somebody who only asks holds a shared lock for some microseconds.
TRIES, SECONDS_BETWEEN_TRIES = 20, 0.02
# What a file system without locks answers: some Lustre and FUSE mounts, old NFS.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# A folder from somebody else may have a link or a pipe of that name.
WITHIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 120.0


class RunInUse(ValueError):
    """Another process works on the run."""


class FolderLock:
    """Holds a run's folder for this process, as a context manager or from `acquire` to `release`.

    The system drops the lock when the process ends, however it ends. On a file system without locks, a file that its
    holder touches every HEARTBEAT_SECONDS stands in, with a warning; it is anybody's after STALE_SECONDS of silence,
    and at once where its holder was a process of this machine that is gone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: int | None = None
        self._released = threading.Event()
        self._keeper: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock. Raises RunInUse, naming the holder, when a living process has it; OSError when the folder
        cannot be written; ValueError on a system without file locks."""
        if fcntl is None:
            raise ValueError("training needs file locks, which this system lacks; it is supported on Linux and macOS")
        self._file = os.open(self.folder / NAME, os.O_RDWR | os.O_CREAT | WITHIN, 0o666)
        try:
            if not self._try_to_lock():
                self._stand_in()
            if not self.is_held():
                raise RunInUse(f"{self.folder}: another process has just set it aside; give the command again")
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, _me().encode(), 0)
        except BaseException:
            self.release()
            raise

    def is_held(self) -> bool:
        """Whether the folder is still the one that this process has the lock of: not moved, its lock not removed."""
        assert self._file is not None
        try:
            mine = self._keeper is None or _stand_in_file(self.folder).read_text(encoding="utf-8") == _me()
            return mine and os.path.samestat(os.fstat(self._file), os.stat(self.folder / NAME))
        except FileNotFoundError:
            return False

    def require_held(self) -> None:
        """Raise ValueError when the folder was moved, or its lock removed, while this process worked on it."""
        if not self.is_held():
            raise ValueError(
                f"{self.folder}: was moved, or its lock removed, while this run worked on it; it stops here"
            )

    def release(self) -> None:
        """Give the lock up; the file stays and means nothing."""
        if self._keeper is not None:
            self._released.set()
            self._keeper.join()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _try_to_lock(self) -> bool:
        """Whether the file system can lock. Raises RunInUse when another process has the lock."""
        assert self._file is not None
        for _ in range(TRIES):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(SECONDS_BETWEEN_TRIES)
            except OSError as error:
                if error.errno in NO_LOCKS:
                    return False
                raise
            else:
                return True
        raise RunInUse(_in_use(self.folder, self.folder / NAME))

    def _stand_in(self) -> None:
        """Hold the folder by a file that only one process can create."""
        path = _stand_in_file(self.folder)
        if path.exists() and not _is_fresh(path):
            _remove_if_stale(path)
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(_me())
        except FileExistsError as error:
            raise RunInUse(_in_use(self.folder, path)) from error
        warnings.warn(f"{self.folder}: this file system cannot lock; {path.name} stands in", stacklevel=3)
        self._keeper = threading.Thread(target=self._keep_fresh, args=(path,), daemon=True)
        self._keeper.start()

    def _keep_fresh(self, path: Path) -> None:
        """Touch the file until the folder is released, then remove it; leave it when another process has taken over."""
        released = False
        while not released:
            released = self._released.wait(HEARTBEAT_SECONDS)
            with contextlib.suppress(OSError):
                if path.read_text(encoding="utf-8") != _me():
                    return
                if released:
                    path.unlink()
                else:
                    os.utime(path)


def is_in_use(folder: Path) -> bool:
    """Whether a living process works on a run's folder, as far as this machine can tell."""
    if _is_fresh(_stand_in_file(folder)):
        return True
    if fcntl is None:
        return False
    try:
        with open(os.open(folder / NAME, os.O_RDONLY | WITHIN)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _in_use(folder: Path, path: Path) -> str:
    try:
        pid, host, *_ = [*path.read_text(encoding="utf-8").split(" "), "", ""]
    except OSError:
        pid, host = "", ""
    holder = f"pid {pid or 'unknown'}" + (f" on {host}" if host not in ("", socket.gethostname()) else "")
    return f"{folder}: in use by another process ({holder}); wait for it or stop it"


def _stand_in_file(folder: Path) -> Path:
    return folder / f"{NAME}.holder"


def _remove_if_stale(path: Path) -> None:
    """Remove a stand-in of a holder that is gone; of several processes that see it stale, one at a time."""
    turn = path.with_suffix(".takeover")
    try:
        turn.touch(exist_ok=False)
    except FileExistsError as error:
        raise RunInUse(f"{turn}: another process is taking this run over; remove the file if there is none") from error
    try:
        if not _is_fresh(path):
            path.unlink(missing_ok=True)
    finally:
        turn.unlink()


def _is_fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < STALE_SECONDS and not _is_dead(path.read_text(encoding="utf-8"))
    except OSError:
        return False


def _is_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine, as far as its numbers are those seen here, and has ended."""
    pid, _, place = holder.partition(" ")
    if place != _me().partition(" ")[2] or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _me() -> str:
    """This process for all machines and containers: its number, its host, and where that number is valid."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{os.getpid()} {socket.gethostname()} {namespace}".strip()
