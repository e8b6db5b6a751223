"""One process works on a run's folder, on file systems with locks and without."""

import errno
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dynfilt.run import lock
from dynfilt.run.lock import STALE_SECONDS, FolderLock, RunInUse, is_in_use


@pytest.fixture(params=["flock", errno.ENOSYS, errno.ENOLCK])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int | str]:
    """A file system that locks, and two that answer that they cannot."""

    def refuse(*_: object) -> None:
        raise OSError(request.param, "no locks here")

    if request.param != "flock":
        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    monkeypatch.setattr(lock, "TRIES", 1)
    with warnings.catch_warnings(action="ignore"):
        yield request.param


def in_a_process(action: Callable[[], bool]) -> int:
    """Start a process that ends with 0 when an action returns true."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if action() else 1
        finally:
            os._exit(code)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def can_lock(folder: Path, hold: int) -> bool:
    """Whether this process gets the folder; it holds it until the other end of a pipe is closed."""
    try:
        with FolderLock(folder):
            os.read(hold, 1)
            return True
    except RunInUse:
        return False


def test_one_of_many_processes_gets_the_folder(kind: int | str, tmp_path: Path) -> None:
    hold, release = os.pipe()
    go, start = os.pipe()

    def race() -> bool:
        os.close(release)
        os.close(start)
        os.read(go, 1)
        return can_lock(tmp_path, hold)

    racers = [in_a_process(race) for _ in range(6)]
    os.close(start)  # all begin
    while len(waiting := [pid for pid in racers if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)]) < 5:
        time.sleep(0.01)
    assert is_in_use(tmp_path)
    os.close(release)
    assert sorted(exit_code(pid) for pid in racers) == [0, 1, 1, 1, 1, 1]
    assert len(waiting) == 5
    assert not is_in_use(tmp_path)
    with FolderLock(tmp_path):
        pass


def test_the_holder_is_named_and_a_released_folder_is_free_at_once(kind: int | str, tmp_path: Path) -> None:
    for _ in range(3):
        with FolderLock(tmp_path) as held:
            held.require_held()
            with pytest.raises(RunInUse, match=rf"in use by another process \(pid {os.getpid()}\)"):
                FolderLock(tmp_path).acquire()
    assert {path.name for path in tmp_path.iterdir()} == {"lock"}


def test_without_locks_a_holder_that_is_gone_is_replaced_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOLCK, "")))
    holder = tmp_path / "lock.holder"
    holder.write_text("1 elsewhere")
    with pytest.raises(RunInUse, match="pid 1 on elsewhere"):
        FolderLock(tmp_path).acquire()
    long_ago = time.time() - STALE_SECONDS - 1
    os.utime(holder, (long_ago, long_ago))
    assert not is_in_use(tmp_path)
    # Of two processes that saw the stale file, the slower one must not remove what the faster one has put there.
    seen = lock._is_fresh
    answers = iter([False])
    with pytest.warns(UserWarning, match="cannot lock; lock.holder stands in"), FolderLock(tmp_path) as held:
        monkeypatch.setattr(lock, "_is_fresh", lambda path: next(answers, None) or seen(path))
        with pytest.raises(RunInUse, match=f"pid {os.getpid()}"):
            FolderLock(tmp_path).acquire()
        held.require_held()
        holder.write_text("2 elsewhere")  # somebody took over while this process slept
        with pytest.raises(ValueError, match="its lock removed"):
            held.require_held()
    assert holder.read_text() == "2 elsewhere"


def test_a_takeover_that_never_ended_says_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "")))
    for name in ("lock.holder", "lock.takeover"):
        (tmp_path / name).touch()
    os.utime(tmp_path / "lock.holder", (0, 0))
    with pytest.raises(RunInUse, match=r"lock\.takeover: another process is taking this run over; remove the file"):
        FolderLock(tmp_path).acquire()


def test_a_folder_that_is_set_aside_while_its_lock_is_taken_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by two commands with rerun=true: the lock is then one of the folder that was set aside."""
    folder = tmp_path / "seed0"
    folder.mkdir()

    def move_first(*_: object) -> None:
        folder.rename(tmp_path / ".seed0.1")
        folder.mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(lock.fcntl, "flock", move_first)
        with pytest.raises(RunInUse, match="another process has just set it aside"):
            FolderLock(folder).acquire()
    with FolderLock(folder):
        assert (folder / "lock").exists()


@pytest.mark.parametrize("place", ["", "of another container"])
def test_without_locks_a_killed_process_of_this_machine_is_replaced_at_once(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a pool tries a job again whose process died."""
    monkeypatch.setattr(lock.fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSYS, "")))
    with warnings.catch_warnings(action="ignore"):
        pid = in_a_process(lambda: FolderLock(tmp_path).acquire() or os.kill(os.getpid(), 9) or True)
        assert exit_code(pid) == -9
        holder = tmp_path / "lock.holder"
        holder.write_text(holder.read_text() + place)
        if place:
            assert is_in_use(tmp_path)
            with pytest.raises(RunInUse, match=rf"\(pid {pid}"):
                FolderLock(tmp_path).acquire()
        else:
            assert not is_in_use(tmp_path)
            with FolderLock(tmp_path) as held:
                held.require_held()
