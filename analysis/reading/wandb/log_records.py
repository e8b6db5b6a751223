"""Records of a `.wandb` log as plain values, decoded with W&B's own protocol, else by its command line.

The protocol module is private to W&B; where a release has moved it, or writes another version of the log, the
public `wandb leet inspect --json` reads the same records, at the cost of a process for each log.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from .transaction_log import TransactionLog

# The first byte of a field in protocol buffers: number << 3 | wire type.
NUMBER_TAG, HISTORY_TAG = 1 << 3, 2 << 3 | 2
WANTED = ("run", "config", "summary", "history", "exit")
Record = tuple[str, dict[str, Any]]


def header_records(log: TransactionLog) -> Iterator[Record]:
    """Kind and content of the records run, config, summary and exit, as far as the log is whole.

    `run` gives `run_id`, `project`, `run_group`, `job_type`, `display_name` and the first config under `config`;
    config and summary give what they set, by dotted key; exit gives `exit_code`.
    Raises ValueError when the file cannot be read or decoded.
    """
    return _records(log, with_history=False)


def history_rows(log: TransactionLog) -> Iterator[dict[str, Any]]:
    """What was logged, a row a step, nested names joined by dots. Raises ValueError as `header_records` does."""
    return (content for kind, content in _records(log, with_history=True) if kind == "history")


def _records(log: TransactionLog, with_history: bool) -> Iterator[Record]:
    try:
        known = log.has_known_format()
        message = record_type()
        if known and message is not None:
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
    """Whether a record's first field after its number is a history row: told without decoding it."""
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
