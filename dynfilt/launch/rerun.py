"""`rerun=true` of a sweep: what it has done already, so that the same command goes on where it was interrupted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dynfilt.config.compose import Job
from dynfilt.launch.outcome import JobOutcome, JobState, count
from dynfilt.run.folder import RunFolder, RunState
from dynfilt.run.identity import identify
from dynfilt.run.parsing import read_json
from dynfilt.run.standing import ANEW, asides_of

FILES = ".rerun-*.json"
LEFT = (JobState.INTERRUPTED, JobState.WAITING, JobState.BUSY, JobState.SUBMITTED)


@dataclass(frozen=True)
class SweepRerun:
    """The runs of one sweep, and a file in its output root that lasts from the start of its rerun to its end.

    The file says of each run how often it had been set aside when the rerun began, and null where there was no run.
    """

    file: Path
    folders: list[RunFolder]

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> SweepRerun | None:
        """That of these jobs, in any order; None where none of them is of a rerun, and none has begun here."""
        root = Path(jobs[0].config["output_root"])
        if not any(map(is_rerun, jobs)) and not any(root.glob(FILES)):
            return None
        identities = [identify(job.config, job.choices, job.differences) for job in jobs]
        folders = [identity.folder(job.config["output_root"]) for identity, job in zip(identities, jobs, strict=True)]
        runs = sorted(f"{folder} {identity.digest}" for folder, identity in zip(folders, identities, strict=True))
        token = hashlib.sha256("\n".join(runs).encode()).hexdigest()[:16]
        return cls(root / FILES.replace("*", token), [RunFolder(folder) for folder in folders])

    def done(self) -> list[bool]:
        """Whether each run was finished by a rerun that has not ended; none where there is no such rerun."""
        began = read_json(self.file, strict=False)
        if began is None:
            return [False] * len(self.folders)
        return [self._is_new(began, folder) and folder.state() == RunState.COMPLETED for folder in self.folders]

    def begin(self) -> None:
        """Note what there is, unless a rerun has begun already. Where that cannot be written, the runs will say so."""
        from dynfilt.run.record import write_json  # torch comes with it

        if not self.file.exists():
            now = {str(run.path): len(asides_of(run)) if run.path.exists() else None for run in self.folders}
            with suppress(OSError):
                self.file.parent.mkdir(parents=True, exist_ok=True)
                write_json(self.file, now)

    def end(self, outcomes: Sequence[JobOutcome]) -> None:
        """Close a rerun of which nothing is left, by whichever command."""
        if not count(outcomes, *LEFT):
            with suppress(OSError):  # where nothing can be written, the runs have said so
                self.file.unlink()

    @staticmethod
    def _is_new(began: dict[str, object], folder: RunFolder) -> bool:
        before = began.get(str(folder.path), 0)
        return before is None or (isinstance(before, int) and len(asides_of(folder)) > before)


def is_rerun(job: Job) -> bool:
    """Whether a job sets its run aside and begins anew."""
    return job.config["rerun"] is ANEW and job.config["mode"] != "test" and job.config["run"] is None
