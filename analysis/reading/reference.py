"""`reference:lab_3x3`: the finished runs of this repository as a source like any other."""

from dynfilt.installation import PROJECT

PREFIX = "reference:"
# They lie as they were written, one folder a machine; docs/runs goes without saying.
FOLDER = PROJECT / "docs"
COLLECTIONS = "runs*"
MAIN = "runs"


def folder_of(source: str) -> str:
    """The folder of `reference:STUDY`, of `reference:runs_h100/STUDY`, or of a variant or a run below it.

    Raises ValueError, with the names that there are, for any other.
    """
    name = source.removeprefix(PREFIX).strip("/")
    known = studies()
    if not known:
        raise ValueError(
            f"{source}: this installation came without the repository's runs; a checkout has them in docs/"
        )
    for within in (name, f"{MAIN}/{name}"):
        is_known = any(within == study or within.startswith(f"{study}/") for study in known)
        if is_known and ".." not in within.split("/") and (FOLDER / within).is_dir():
            return str(FOLDER / within)
    names = ", ".join(study.removeprefix(f"{MAIN}/") for study in known)
    raise ValueError(f"{source}: no such runs in the repository; its studies are {names}")


def studies() -> list[str]:
    """The studies below docs/, such as `runs/lab_3x3`; none where an installation has no docs/."""
    folders = [study for collection in FOLDER.glob(COLLECTIONS) for study in collection.iterdir() if study.is_dir()]
    return sorted(folder.relative_to(FOLDER).as_posix() for folder in folders)
