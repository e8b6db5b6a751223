"""The file format of a `.wandb` log, read as a stream: memory stays at one block and one record.

It is LevelDB's log format (leveldb, doc/log_format.md) with a header of 7 bytes and a plain CRC-32: blocks of
32 KiB hold chunks of CRC of type and data (4 bytes), length (2), type (1) and data. A record is one FULL chunk,
or FIRST, any number of MIDDLE and LAST. Less than a chunk's header at the end of a block is padding.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

BLOCK_BYTES = 32 * 1024
FILE_HEADER = struct.Struct("<4sHB")
CHUNK_HEADER = struct.Struct("<IHB")
MARK, MAGIC, VERSION = b":W&B", 0xBEE1, 0
PADDING, FULL, FIRST, MIDDLE, LAST = range(5)
CRC_OF_TYPE = [zlib.crc32(bytes([kind])) for kind in range(LAST + 1)]


class TransactionLog:
    """The records of one log in bytes, in order; `torn_at` is the byte at which reading had to stop, if it had.

    Whatever was written before a kill -9 is read, up to the record that is cut off or damaged.
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
