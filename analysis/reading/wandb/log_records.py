"""A `.wandb` log: its file format, read as a stream, and its records as plain values.

The format is LevelDB's (leveldb, doc/log_format.md) with a header of 7 bytes and a plain CRC-32: blocks of 32 KiB
hold chunks of CRC of type and data (4 bytes), length (2), type (1) and data. A record is one FULL chunk, or FIRST, any
number of MIDDLE and LAST. Less than a chunk's header at the end of a block is padding.

Records are decoded with W&B's own protocol module, which is private to W&B; where a release has moved it, or writes
another version of the log, the public `wandb leet inspect --json` reads the same, at the cost of a process for each.
"""

import json
import os
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, BinaryIO

BLOCK_BYTES = 32 * 1024
FILE_HEADER = struct.Struct("<4sHB")
CHUNK_HEADER = struct.Struct("<IHB")
MARK, MAGIC, VERSION = b":W&B", 0xBEE1, 0
PADDING, FULL, FIRST, MIDDLE, LAST = range(5)
CRC_OF_TYPE = [zlib.crc32(bytes([kind])) for kind in range(LAST + 1)]
# The first byte of a field in protocol buffers: number << 3 | wire type.
NUMBER_TAG, HISTORY_TAG = 1 << 3, 2 << 3 | 2
WANTED = ("run", "config", "summary", "history", "exit")

Record = tuple[str, dict[str, Any]]


class TransactionLog:
    """The records of one log in bytes, in order; memory stays at one block and one record.

    Reads what was written before a kill -9, up to the record that is cut off or damaged; `torn_at` is its byte, None
    where the log is whole.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.torn_at: int | None = None

    def is_empty(self) -> bool:
        """Whether nothing but the header was written. Raises OSError when there is no such file."""
        return os.path.getsize(self.path) <= FILE_HEADER.size

    def has_known_format(self) -> bool:
        """Whether this reader understands the file's version.

        Raises ValueError when it is no W&B log at all, OSError when it cannot be read.
        """
        with open(self.path, "rb") as file:
            header = file.read(FILE_HEADER.size)
        if header[: len(MARK)] != MARK:
            raise ValueError(f"{self.path} is no W&B log: it does not start with {MARK.decode()}")
        return len(header) == FILE_HEADER.size and FILE_HEADER.unpack(header) == (MARK, MAGIC, VERSION)

    def __iter__(self) -> Iterator[bytes]:
        self.torn_at = None
        begun: list[bytes] = []
        start = 0
        with open(self.path, "rb") as file:
            for offset, kind, data in self._chunks(file):
                if (kind in (MIDDLE, LAST)) != bool(begun):
                    self.torn_at = start if begun else offset
                    return
                start = start if begun else offset
                if kind == FULL:
                    yield data
                    continue
                begun.append(data)
                if kind == LAST:
                    yield b"".join(begun)
                    begun = []
        if begun:
            self.torn_at = start

    def _chunks(self, file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
        """Offset, type and data of each chunk."""
        start, position = 0, FILE_HEADER.size
        while block := file.read(BLOCK_BYTES):
            while position + CHUNK_HEADER.size <= len(block):
                crc, length, kind = CHUNK_HEADER.unpack_from(block, position)
                if (length, kind) == (0, PADDING):
                    break
                end = position + CHUNK_HEADER.size + length
                data = block[position + CHUNK_HEADER.size : end]
                if end > len(block) or not FULL <= kind <= LAST or zlib.crc32(data, CRC_OF_TYPE[kind]) != crc:
                    self.torn_at = start + position
                    return
                yield start + position, kind, data
                position = end
            if position < len(block) < BLOCK_BYTES:
                self.torn_at = start + position
            start, position = start + BLOCK_BYTES, 0


def header_records(log: TransactionLog) -> Iterator[Record]:
    """Kind and content of the records run, config, summary and exit, as far as the log is whole.

    `run` gives `run_id`, `project`, `run_group`, `job_type`, `display_name` and the first config under `config`;
    config and summary give what they set, by dotted key; exit gives `exit_code`.
    Raises ValueError when the file cannot be read or decoded.
    """
    return _records(log, with_history=False)


def history_rows(log: TransactionLog) -> Iterator[dict[str, Any]]:
    """Read what was logged at each step, nested names joined by dots. Raises ValueError as `header_records` does."""
    return (content for kind, content in _records(log, with_history=True) if kind == "history")


def _records(log: TransactionLog, with_history: bool) -> Iterator[Record]:
    try:
        message = record_type() if log.has_known_format() else None
        if message is not None:
            yield from _from_protocol(log, message, with_history)
        else:
            yield from _from_command_line(log.path, with_history)
    except OSError as error:
        raise ValueError(f"{log.path} cannot be read: {error.strerror}") from error


@cache
def record_type() -> type[Any] | None:
    """W&B's protocol message for a record, None where this release of W&B has it elsewhere or otherwise."""
    try:
        from wandb.proto import wandb_internal_pb2
    except ImportError:
        return None
    message = getattr(wandb_internal_pb2, "Record", None)
    return message if message and set(WANTED) <= set(message.DESCRIPTOR.fields_by_name) else None


def _from_protocol(log: TransactionLog, message: type[Any], with_history: bool) -> Iterator[Record]:
    from google.protobuf.message import DecodeError

    for data in log:
        if _is_history(data) and not with_history:
            continue
        try:
            record = message.FromString(data)  # parsing into one message again and again keeps all of them in memory
        except DecodeError as error:
            raise ValueError(f"{log.path} holds a record that this release of W&B cannot decode: {error}") from error
        kind = record.WhichOneof("record_type")
        if kind in WANTED and (kind == "history") == with_history:
            yield kind, _content(kind, getattr(record, kind))


def _is_history(data: bytes) -> bool:
    """Whether a record's first field after its number is a history row, without decoding it."""
    position = 0
    if data[:1] == bytes([NUMBER_TAG]):
        position = 1
        while position < len(data) and data[position] & 0x80:
            position += 1
        position += 1
    return data[position : position + 1] == bytes([HISTORY_TAG])


def _content(kind: str, message: Any) -> dict[str, Any]:
    if kind == "history":
        return _values(message.item)
    if kind == "exit":
        return {"exit_code": message.exit_code}
    if kind == "run":
        names = ("run_id", "project", "run_group", "job_type", "display_name")
        return {name: getattr(message, name) for name in names} | {"config": _values(message.config.update)}
    return _values(message.update)


def _values(items: Iterable[Any]) -> dict[str, Any]:
    """Dotted key and value of each item; the values are parsed in one go, which is three times as fast."""
    keys, texts = [], []
    for item in items:
        nested = item.nested_key
        keys.append(nested[0] if len(nested) == 1 else item.key or ".".join(nested))
        texts.append(item.value_json or "null")
    return dict(zip(keys, json.loads(f"[{','.join(texts)}]"), strict=True))


def _from_command_line(path: str, with_history: bool) -> Iterator[Record]:
    from wandb.errors import WandbCoreNotAvailableError
    from wandb.util import get_core_path

    try:
        core = get_core_path()
    except WandbCoreNotAvailableError as error:
        raise ValueError(f"{path} cannot be read without W&B's program: {error}") from error
    # `wandb leet inspect --json PATH`, without the half second that importing W&B's command line takes.
    command = [core, "leet", "inspect", "--no-observability", "--json"]
    command += ["--run-file", os.path.abspath(path), os.path.dirname(os.path.dirname(os.path.abspath(path)))]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield from (record for record in _printed(json.loads(line)) if (record[0] == "history") == with_history)
    if process.returncode:
        raise ValueError(f"{path}: `wandb leet inspect` ended with exit code {process.returncode}")


def _printed(record: Mapping[str, Any]) -> Iterator[Record]:
    """One line of the command's output in the form of `_content`; it writes NaN as "NaN" and leaves zeros out."""
    kind = record.get("type", "")
    content = record.get(kind) or {}
    match kind:
        case "run":
            yield kind, {**content, "config": (content.get("config") or {}).get("update") or {}}
        case "exit":
            yield kind, {"exit_code": content.get("exit_code", 0)}
        case "history":
            yield kind, content.get("item") or {}
        case "config" | "summary":
            yield kind, content.get("update") or {}
