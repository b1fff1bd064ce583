"""Attachments through the gateway of a running system: large files, and clients that go away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from tests.support.people import Person, token_of
from tests.support.pictures import FILES, picture
from tests.support.servers import wait_until
from tests.support.upped import Up

MOST = 52_428_800
PIECE = 256 * 1024


def announce(person: Person, entry: str, content: bytes, size: int | None = None) -> dict[str, Any]:
    body = {
        "filename": "river.png",
        "content_type": "image/png",
        "size_bytes": size or len(content),
    }
    answer = person.post(f"{entry}/attachments", body)
    assert answer.status_code == 201, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def padded(content: bytes, size: int) -> Iterator[bytes]:
    """A file of this size, of which little is in memory."""
    yield content
    left = size - len(content)
    while left > 0:
        yield bytes(min(PIECE, left))
        left -= PIECE


def memory(up: Up, name: str) -> int:
    """Bytes that a process has resident."""
    return int(psutil.Process(up.processes()[name]["pid"]).memory_info().rss)


def unexpected(up: Up) -> int:
    """How often the gateway and the APIs have met what they did not expect."""
    return sum(
        path.read_text(errors="replace").count("unexpected error")
        for path in (up.home / "log").iterdir()
        if path.is_file()
    )


def test_the_largest_file_goes_in_and_out_and_a_larger_one_does_not(
    up: Up, person: Person, anonymous: httpx.Client
) -> None:
    entry = person.write("2026-05-01").headers["Location"]
    png = picture("PNG", (1200, 600))
    too_large = {"filename": "x.png", "content_type": "image/png", "size_bytes": 60_000_000}
    refused = person.post(f"{entry}/attachments", too_large)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "size_bytes")

    pending = announce(person, entry, png, MOST)
    upload = pending["upload"]
    for headers in ({"Content-Length": "60000000"}, {}):
        over = anonymous.put(upload["url"], content=padded(png, 60_000_000), headers=headers)
        assert (over.status_code, over.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")

    before = {name: memory(up, name) for name in ("gateway", "write-api")}
    sent = anonymous.put(upload["url"], content=padded(png, MOST), headers=upload["headers"])
    assert sent.status_code == 204, sent.text
    for name, bytes_before in before.items():
        assert memory(up, name) - bytes_before < 24 * 1024 * 1024, name
    done = person.post(f"{entry}/attachments/{pending['id']}/complete", {})
    assert done.status_code == 200, done.text
    ready = done.json()["data"]
    assert ready["size_bytes"] == MOST
    assert ready["download_url"].startswith(up.gateway)

    before_download = memory(up, "read-api")
    with anonymous.stream("GET", ready["download_url"]) as download:
        assert download.headers["Content-Length"] == str(MOST)
        assert sum(map(len, download.iter_bytes())) == MOST
    assert memory(up, "read-api") - before_download < 24 * 1024 * 1024

    path = f"{entry}/attachments/{pending['id']}"
    assert person.get(path, headers=token_of(done)).status_code == 200
    wait_until(lambda: person.get(path).json()["data"]["thumbnail_url"], what="it has a thumbnail")
    small = anonymous.get(person.get(path).json()["data"]["thumbnail_url"])
    assert small.headers["Content-Type"] == "image/webp"


def test_an_upload_that_is_abandoned_halfway_leaves_nothing(up: Up, person: Person) -> None:
    entry = person.write("2026-05-02").headers["Location"]
    png = FILES["image/png"]
    pending = announce(person, entry, png)
    link = urlsplit(pending["upload"]["url"])
    begin = f"PUT {link.path}?{link.query} HTTP/1.1\r\nHost: {link.netloc}\r\n"
    assert link.hostname is not None
    folder = up.home / "objects" / "uploads" / person.id
    complaints = unexpected(up)
    for rest in (
        f"Content-Length: {10 * 1024 * 1024}\r\n\r\n".encode(),  # more than was announced
        f"Content-Length: {len(png)}\r\n\r\n".encode() + png[:50],
        b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + png[:50] + b"\r\n",
    ):
        with socket.create_connection((link.hostname, link.port)) as client:
            client.sendall(begin.encode() + rest)
            if b"chunked" in rest:
                wait_until(lambda: any(folder.glob("*.part")), what="it began")
        wait_until(lambda: not any(folder.glob("*")), what="it is dropped")
    assert unexpected(up) == complaints
    early = person.post(f"{entry}/attachments/{pending['id']}/complete", {})
    assert (early.status_code, early.json()["code"]) == (409, "NOT_UPLOADED")
    with httpx.Client() as client:
        assert client.put(pending["upload"]["url"], content=png).status_code == 204
    done = person.post(f"{entry}/attachments/{pending['id']}/complete", {})
    shown = person.get(entry, headers=token_of(done)).json()["data"]["attachments"]
    assert [each["id"] for each in shown] == [pending["id"]]
