"""An archive says when anything about it is not as it was written."""

from __future__ import annotations

import datetime
import io
import stat
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from adapters.archive.lines import (
    Archived,
    Damaged,
    Reader,
    Writer,
    data_of,
    opened,
    replacing,
    stored_of,
)
from domain.event import Metadata

COUNT = 12


def event(position: int, data: bytes = b'{"a":1}') -> Archived:
    return Archived(
        position=position,
        stream_id=f"s-{position % 3}",
        stream_version=(position - 1) // 3 + 1,
        topic="t.v1",
        tenant_id=UUID(int=1),
        recorded_at=datetime.datetime(2026, 3, 1, 1, 2, 3, 456789, datetime.UTC),
        metadata=Metadata(event_id=uuid7(), correlation_id="req_12345678", actor="user:1"),
        data=data_of(data),
    )


def written() -> bytes:
    file = io.BytesIO()
    writer = Writer(file)
    for position in range(1, COUNT + 1):
        writer.add(event(position))
    writer.finish()
    return file.getvalue()


ARCHIVE = written()


def read(archive: bytes) -> list[Archived]:
    return list(Reader(io.BytesIO(archive)).events())


def test_a_line_has_the_contracts_members() -> None:
    first, *_, last = ARCHIVE.splitlines()
    assert set(msgspec.json.decode(first)) == set(
        "position stream_id stream_version topic tenant_id recorded_at metadata data"
        " checksum".split()
    )
    assert msgspec.json.decode(first)["recorded_at"] == "2026-03-01T01:02:03.456789Z"
    assert set(msgspec.json.decode(last)) >= {"count", "checksum"}
    assert msgspec.json.decode(last)["count"] == COUNT


def test_what_was_written_is_read() -> None:
    assert [each.position for each in read(ARCHIVE)] == list(range(1, COUNT + 1))


@given(st.integers(0, len(ARCHIVE) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found_wherever_it_is(at: int, by: int) -> None:
    changed = ARCHIVE[:at] + bytes([ARCHIVE[at] ^ by]) + ARCHIVE[at + 1 :]
    with pytest.raises(Damaged):
        read(changed)


@given(st.integers(0, COUNT))
def test_a_missing_line_is_found(at: int) -> None:
    lines = ARCHIVE.splitlines(keepends=True)
    with pytest.raises(Damaged):
        read(b"".join(lines[:at] + lines[at + 1 :]))


@given(st.integers(0, len(ARCHIVE) - 1))
def test_a_file_that_was_cut_off_is_found(at: int) -> None:
    with pytest.raises(Damaged):
        read(ARCHIVE[:at])


def test_lines_that_changed_places_or_came_twice_are_found() -> None:
    lines = ARCHIVE.splitlines(keepends=True)
    for wrong in ([lines[1], lines[0], *lines[2:]], [lines[0], *lines], [*lines, lines[-1]]):
        with pytest.raises(Damaged):
            read(b"".join(wrong))


@given(st.binary() | st.just(b'{"public":{},"sealed":""}') | st.just(b'{"raw":""}'))
def test_every_byte_of_data_comes_back(stored: bytes) -> None:
    assert stored_of(data_of(stored)) == stored
    assert b"\n" not in bytes(data_of(stored))
    msgspec.json.decode(bytes(data_of(stored)))


@given(st.binary(min_size=1))
def test_sealed_parts_come_back(sealed: bytes) -> None:
    stored = b'{"user_id":"u"}\x00' + sealed
    shown = msgspec.json.decode(bytes(data_of(stored)))
    assert set(shown) == {"public", "sealed"}
    assert shown["public"] == {"user_id": "u"}
    assert stored_of(data_of(stored)) == stored


@pytest.mark.parametrize("zstd", [False, True])
def test_a_file_is_private_and_there_whole_or_not_at_all(tmp_path: Path, zstd: bool) -> None:
    path = tmp_path / "archive"
    with replacing(path, zstd=zstd) as file:
        file.write(ARCHIVE)
        assert not path.exists()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with opened(path) as file:
        assert len(list(Reader(file).events())) == COUNT
    before = path.read_bytes()

    def fail() -> None:
        with replacing(path, zstd=zstd) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_compression_is_found(tmp_path: Path) -> None:
    path = tmp_path / "archive.zst"
    with replacing(path, zstd=True) as file:
        file.write(ARCHIVE)
    packed = path.read_bytes()
    for at in range(4, len(packed)):
        path.write_bytes(packed[:at])
        with pytest.raises(Damaged), opened(path) as file:
            list(Reader(file).events())
        path.write_bytes(packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :])
        # A few bits of a frame mean nothing: without them the content is the same.
        with suppress(Damaged), opened(path) as file:
            assert list(Reader(file).events()) == read(ARCHIVE)
    path.write_bytes(packed + packed)
    with pytest.raises(Damaged), opened(path) as file:
        list(Reader(file).events())
