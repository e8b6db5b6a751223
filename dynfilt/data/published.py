"""CIFAR-10 and CIFAR-100 as published: files, image counts, checksums and class names.

Source: Krizhevsky, 2009, "Learning Multiple Layers of Features from Tiny Images", and
https://www.cs.toronto.edu/~kriz/cifar.html. The MD5 values are torchvision's.
"""

from dataclasses import dataclass
from functools import partial

from dynfilt.data.class_names import CIFAR10_CLASSES, CIFAR100_CLASSES
from dynfilt.data.layouts import Layout, OfficialFile, decode_pickle, decode_records


@dataclass(frozen=True)
class PublishedData:
    """A data set, the layouts in which it may be found (in this order), and torchvision's class for it."""

    title: str
    torchvision_class: str
    archive: str  # how the names of its downloads begin
    layouts: tuple[Layout, ...]
    class_names: tuple[str, ...]


CIFAR10 = PublishedData(
    title="CIFAR-10",
    torchvision_class="CIFAR10",
    archive="cifar-10-",
    layouts=(
        Layout(
            folder="cifar-10-batches-py",
            train=(
                OfficialFile("data_batch_1", 10_000, "c99cafc152244af753f735de768cd75f"),
                OfficialFile("data_batch_2", 10_000, "d4bba439e000b95fd0a9bffe97cbabec"),
                OfficialFile("data_batch_3", 10_000, "54ebc095f3ab1f0389bbae665268c751"),
                OfficialFile("data_batch_4", 10_000, "634d18415352ddfa80567beed471001a"),
                OfficialFile("data_batch_5", 10_000, "482c414d41f54cd18b22e5b47cb7c3cb"),
            ),
            test=(OfficialFile("test_batch", 10_000, "40351d587109b95175f43aff81a1287e"),),
            checksum_kind="md5",
            decode=partial(decode_pickle, label_key="labels"),
        ),
        Layout(
            folder="cifar-10-batches-bin",
            train=tuple(
                OfficialFile(f"data_batch_{number}.bin", 10_000, checksum)
                for number, checksum in enumerate(
                    (
                        "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                        "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                        "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                        "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                        "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                    ),
                    start=1,
                )
            ),
            test=(
                OfficialFile(
                    "test_batch.bin",
                    10_000,
                    "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
                ),
            ),
            checksum_kind="sha256",
            decode=partial(decode_records, label_bytes=1),
        ),
    ),
    class_names=CIFAR10_CLASSES,
)

CIFAR100 = PublishedData(
    title="CIFAR-100",
    torchvision_class="CIFAR100",
    archive="cifar-100-",
    layouts=(
        Layout(
            folder="cifar-100-python",
            train=(OfficialFile("train", 50_000, "16019d7e3df5f24257cddd939b257f8d"),),
            test=(OfficialFile("test", 10_000, "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
            checksum_kind="md5",
            decode=partial(decode_pickle, label_key="fine_labels"),
        ),
        Layout(
            folder="cifar-100-binary",
            train=(
                OfficialFile("train.bin", 50_000, "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"),
            ),
            test=(
                OfficialFile("test.bin", 10_000, "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"),
            ),
            checksum_kind="sha256",
            decode=partial(decode_records, label_bytes=2),
        ),
    ),
    class_names=CIFAR100_CLASSES,
)
