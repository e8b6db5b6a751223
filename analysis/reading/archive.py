"""Finished runs as one archive: a zip of their folders without weights. Reading one trusts nothing that it holds."""

import atexit
import hashlib
import io
import json
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from dynfilt.run.folder import CONFIG, EVALUATIONS, PREDICTIONS, PROVENANCE, RESULT, STATUS, RunFolder, RunState

from .find_runs import find_runs

FORMAT = 2
MANIFEST = "archive.json"
LABELS = "labels"  # a folder; the labels of test images are half of a run's predictions, and the same in every run
LABEL = "label.npy"
KEPT = (CONFIG, STATUS, PROVENANCE, EVALUATIONS, RESULT, PREDICTIONS)
MOST_BYTES = 5_000_000
# Several times what such an archive can need, and little to a machine.
MOST_BYTES_UNPACKED = 200_000_000
MOST_FILES = 100_000
ANY_TIME = (1980, 1, 1, 0, 0, 0)  # so that the same runs make the same bytes
DAMAGED = "is damaged, or no archive of runs"
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error)


def write_archive(sources: Sequence[str], file: str) -> int:
    """Pack the finished runs below some folders, `docs/runs` as `runs/...`; return how many there are.

    Raises ValueError for a folder without finished runs, two runs of one name, a link, and more than MOST_BYTES.
    """
    folders: dict[str, Path] = {}
    for source in sources:
        finished = [place for place in find_runs(source).run_folders if _is_finished(place)]
        if not finished:
            raise ValueError(f"no finished run in {source}; an archive holds runs that are done")
        for place in finished:
            name = f"{_readable(Path(source).resolve().name)}/{Path(place).relative_to(source).as_posix()}"
            _place(f"{name}/{CONFIG}")
            if name in folders:
                raise ValueError(f"{place} and {folders[name]} would both be {name}; give the folder above both")
            folders[name] = Path(place)
    contents = {MANIFEST: json.dumps({"format": FORMAT, "runs": len(folders)}).encode()}
    for name, folder in sorted(folders.items()):
        for kept in KEPT:
            if (folder / kept).is_symlink():  # it may lead to any file of whoever packs
                raise ValueError(f"{folder / kept} is a link; an archive holds files")
            if (folder / kept).is_file():
                contents[f"{name}/{kept}"] = (folder / kept).read_bytes()
    packed = _zip(_labels_once(contents))
    if len(packed) > MOST_BYTES:
        raise ValueError(f"{len(folders)} runs make {len(packed):,} bytes, of at most {MOST_BYTES:,}; give fewer")
    Path(file).write_bytes(packed)
    return len(folders)


def unpack(file: str) -> str:
    """A folder with the runs of an archive, which lasts as long as this process.

    Raises ValueError, before anything is written, for what is no archive of this format, for a file in it that no run
    has or that would lie elsewhere, and for more than MOST_BYTES_UNPACKED, those inside of predictions counted; and,
    with nothing left behind, for what no disk takes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _require_format(archive)
            entries = [entry for entry in archive.infolist() if entry.filename != MANIFEST and not entry.is_dir()]
            _require_bounds(entry.file_size for entry in entries)
            contents = _labels_everywhere({entry.filename: archive.read(entry) for entry in entries})
        if contents and not any(place.name in (CONFIG, STATUS, RESULT) for place in contents):
            raise ValueError(DAMAGED)
    except UNREADABLE as error:
        reason = str(error) if type(error) is ValueError else DAMAGED
        raise ValueError(f"{file}: {reason}; `python -m analysis archive SOURCE --out {file}` writes one") from error
    folder = Path(tempfile.mkdtemp(prefix="dynfilt-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        for place, content in contents.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(content)
    except OSError as error:
        shutil.rmtree(folder)
        raise ValueError(f"{file}: cannot be unpacked ({error.strerror or error})") from error
    return str(folder)


def _is_finished(place: str) -> bool:
    return RunFolder(Path(place)).state() == RunState.COMPLETED


def _zip(contents: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, ANY_TIME)
            entry.compress_type = archive.compression
            archive.writestr(entry, content)
    return packed.getvalue()


def _unzip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def _entries(content: bytes) -> list[zipfile.ZipInfo]:
    """What is in a file of predictions; nothing where it is damaged, which the reader of its run names."""
    with suppress(*UNREADABLE), zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.infolist()
    return []


def _labels_once(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of runs with equal labels once, below LABELS; predictions name the file of theirs by an empty entry."""
    packed: dict[str, bytes] = {}
    for name, content in contents.items():
        packed[name] = content
        if name.endswith(f"/{PREDICTIONS}"):
            with suppress(*UNREADABLE):  # a damaged file stays as it is
                arrays = _unzip(content)
                if label := arrays.pop(LABEL, None):
                    place = f"{LABELS}/{hashlib.sha256(label).hexdigest()[:16]}.npy"
                    packed |= {place: label, name: _zip({place: b"", **arrays})}
    return packed


def _labels_everywhere(packed: Mapping[str, bytes]) -> dict[PurePosixPath, bytes]:
    """The files of runs from what `_labels_once` made of them, after a look at how large they become."""
    labels = {
        name: content for name, content in packed.items() if name.startswith(f"{LABELS}/") and name.endswith(".npy")
    }
    contents = {_place(name): content for name, content in packed.items() if name not in labels}
    predictions = {place: content for place, content in contents.items() if place.name == PREDICTIONS}
    inside = {place: _entries(content) for place, content in predictions.items()}
    _require_bounds(
        len(labels.get(entry.filename, b"")) + entry.file_size for entries in inside.values() for entry in entries
    )
    for place, entries in inside.items():
        if label := next((labels[entry.filename] for entry in entries if entry.filename in labels), None):
            arrays = _unzip(predictions[place])
            contents[place] = _zip({LABEL: label} | {name: arrays[name] for name in arrays if name not in labels})
    return contents


def _require_format(archive: zipfile.ZipFile) -> None:
    entry = next((entry for entry in archive.infolist() if entry.filename == MANIFEST), None)
    manifest = json.loads(archive.read(entry)) if entry and entry.file_size < 1000 else None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise ValueError(f"is no archive of runs (without {MANIFEST})")
    if manifest["format"] not in range(1, FORMAT + 1):  # format 1 had all labels in their places
        raise ValueError(f"is an archive of format {manifest['format']}, but this version reads format {FORMAT}")


def _require_bounds(sizes: Iterable[int]) -> None:
    counted = list(sizes)
    if len(counted) > MOST_FILES or sum(counted) > MOST_BYTES_UNPACKED:
        raise ValueError(
            f"holds {len(counted):,} files of {sum(counted):,} bytes, of at most {MOST_FILES:,} and "
            f"{MOST_BYTES_UNPACKED:,}"
        )


def _place(name: str) -> PurePosixPath:
    """A file's place below the folder of all runs."""
    place = PurePosixPath(name)
    strange = "\\" in name or ":" in name or place.is_absolute() or any(part.startswith(".") for part in place.parts)
    if strange or place.name not in KEPT:
        raise ValueError(f"holds {name!r}, which is no file of a run")
    return place


def _readable(name: str) -> str:
    """The name of a folder without what `_place` takes in no place."""
    return re.sub(r"^\.|[\\:]", lambda found: f"%{ord(found[0]):02X}", name)
