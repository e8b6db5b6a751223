"""CIFAR-10 and CIFAR-100: found under a folder, or downloaded, and read into memory."""

import http.client
import socket
import tempfile
from pathlib import Path

from dynfilt.data.bundle import DataSet, Split, image_data
from dynfilt.data.layouts import Layout, read_layout
from dynfilt.data.published import CIFAR10, CIFAR100, PublishedData

DOWNLOADS = Path("data")
DOWNLOAD_TIMEOUT_S = 30.0


@image_data
def cifar10(root: str | None) -> DataSet:
    """CIFAR-10, read from `root`; with `root` None from ./data, where it is downloaded to if it is not there.

    Raises ValueError for a root without the data, for files that are damaged, and when a download fails.
    """
    return DataSet(*read_published(CIFAR10, root), CIFAR10.class_names)


@image_data
def cifar100(root: str | None) -> DataSet:
    """CIFAR-100 with its 100 fine labels; argument and errors as for cifar10."""
    return DataSet(*read_published(CIFAR100, root), CIFAR100.class_names)


def read_published(data: PublishedData, root: str | None) -> tuple[Split, Split]:
    """Training and test images from `root`, or with `root` None from ./data, downloaded if need be."""
    folder = DOWNLOADS if root is None else Path(root).expanduser()
    if root is not None and not folder.is_dir():
        raise ValueError(f"data.root: {folder} is no folder; {_choices(data)}")
    layout = _complete_layout(data, folder)
    if layout is None and root is not None:
        missing = " and no ".join(str(layout.missing(folder)) for layout in data.layouts)
        raise ValueError(f"data.root: {folder} has no {missing}; {_nearly(data, folder) or _choices(data)}")
    if layout is None:
        _download(data, folder)
        layout = _complete_layout(data, folder)
        assert layout is not None, folder
    return read_layout(folder, layout, len(data.class_names))


def _complete_layout(data: PublishedData, folder: Path) -> Layout | None:
    return next((layout for layout in data.layouts if layout.missing(folder) is None), None)


def _nearly(data: PublishedData, folder: Path) -> str:
    """What is left to do where the data is almost right; empty when nothing of it is there."""
    if folder.resolve().name in {layout.folder for layout in data.layouts}:
        return "this is the data's own folder, give the folder above it"
    archive = next(iter(sorted(folder.glob(f"{data.archive}*.tar.gz"))), None)
    return f"unpack {archive.name} there" if archive else ""


def _choices(data: PublishedData) -> str:
    folders = " or ".join(f"{layout.folder}/" for layout in data.layouts)
    return (
        f"set data.root to a folder that holds {folders}, leave it unset (null) to download {data.title} "
        f"into ./{DOWNLOADS}, or choose data=cifar10_sample"
    )


def _download(data: PublishedData, folder: Path) -> None:
    """Put the python version into `folder`, file by file once its checksum has been verified."""
    import torchvision

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="download-", dir=folder) as scratch:
            getattr(torchvision.datasets, data.torchvision_class)(scratch, download=True)
            target = folder / data.layouts[0].folder
            target.mkdir(exist_ok=True)
            for file in (Path(scratch) / target.name).iterdir():
                file.replace(target / file.name)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise ValueError(f"could not download {data.title} ({error}); {_choices(data)}") from error
    finally:
        socket.setdefaulttimeout(before)
