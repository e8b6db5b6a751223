"""The log format against an independent writer: whatever the sizes, and wherever the file was cut or damaged."""

import random
import tracemalloc
from pathlib import Path

import pytest

from analysis.reading.wandb.log_records import TransactionLog
from tests.wandb_logs import BLOCK, HEADER, framed


def read(data: bytes) -> tuple[list[bytes], int | None]:
    Path("x.wandb").write_bytes(data)
    log = TransactionLog("x.wandb")
    return list(log), log.torn_at


def test_records_of_every_size_come_back() -> None:
    chance = random.Random(0)
    # Around a block's end: with room for a header only, for less than a header, and over several blocks.
    sizes = [0, 1, BLOCK - 7 - 7 - 8 - 7, 3, BLOCK - 7, 4 * BLOCK, BLOCK - 8, *(BLOCK - 7 - k for k in range(16))]
    records = [chance.randbytes(size) for size in sizes]
    assert read(framed(records)) == (records, None)


def test_a_log_cut_anywhere_is_read_up_to_the_cut() -> None:
    records = [bytes([number]) * 40 for number in range(5)]
    whole = framed(records)
    ends = [len(HEADER) + 47 * count for count in range(6)]
    for cut in range(len(HEADER), len(whole) + 1):
        complete = sum(end <= cut for end in ends) - 1
        torn_at = None if cut in ends else ends[complete]
        assert read(whole[:cut]) == (records[:complete], torn_at), cut


def test_a_long_record_without_its_end_is_torn_where_it_begins() -> None:
    data = framed([b"short", bytes(3 * BLOCK)])
    assert read(data[: 2 * BLOCK]) == ([b"short"], len(HEADER) + 12)


@pytest.mark.parametrize("damage", [0, 4, 6, 20])
def test_a_damaged_record_ends_the_reading(damage: int) -> None:
    data = bytearray(framed([b"a" * 30, b"b" * 30, b"c" * 30]))
    data[len(HEADER) + 37 + damage] ^= 0xFF
    assert read(bytes(data)) == ([b"a" * 30], len(HEADER) + 37)


def test_a_tail_of_zeros_is_torn() -> None:
    data = framed([b"a" * 30])
    assert read(data + bytes(100)) == ([b"a" * 30], len(data))


def test_a_piece_without_its_beginning_is_torn() -> None:
    data = framed([bytes(2 * BLOCK)])
    assert read(HEADER + bytes(BLOCK - 7) + data[BLOCK:]) == ([], BLOCK)


@pytest.mark.parametrize(("data", "known"), [(HEADER, True), (b":W&B\xe1\xbe\x01", False), (b":W&B", False)])
def test_another_version_is_not_read_as_this_one(data: bytes, known: bool) -> None:
    Path("x.wandb").write_bytes(data)
    assert TransactionLog("x.wandb").has_known_format() is known


def test_what_is_no_log_is_an_error() -> None:
    Path("x.wandb").write_bytes(b"hello, world")
    with pytest.raises(ValueError, match=r"x\.wandb is no W&B log"):
        TransactionLog("x.wandb").has_known_format()


def test_memory_does_not_grow_with_the_log() -> None:
    Path("x.wandb").write_bytes(framed([bytes(1000)] * 8000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in TransactionLog("x.wandb")) == 8000
        assert tracemalloc.get_traced_memory()[1] < 4 * BLOCK
    finally:
        tracemalloc.stop()
