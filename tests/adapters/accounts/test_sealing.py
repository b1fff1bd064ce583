from __future__ import annotations

import os
import pickle

import pytest

from adapters.sealing import Sealer, Unsealable, generation_of

OLD, NEW = bytes(range(32)), bytes(range(1, 33))


def test_what_was_sealed_opens_in_its_context_only() -> None:
    sealer = Sealer(OLD)
    sealed = sealer.seal(b"secret", b"here")
    assert b"secret" not in sealed
    assert sealer.open(sealed, b"here") == b"secret"
    assert Sealer(OLD).open(sealed, b"here") == b"secret"
    with pytest.raises(Unsealable):
        sealer.open(sealed, b"there")


def test_any_change_shows() -> None:
    sealer = Sealer(OLD)
    sealed = sealer.seal(b"secret", b"")
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(Unsealable):
            sealer.open(changed, b"")
        with pytest.raises(Unsealable):
            sealer.open(sealed[:at], b"")


def test_no_two_seals_are_alike() -> None:
    sealers = [Sealer(OLD) for _ in range(3)]
    assert len({sealer.seal(b"", b"") for sealer in sealers for _ in range(100)}) == 300


def test_an_older_master_key_opens_but_does_not_seal() -> None:
    old = Sealer(OLD).seal(b"secret", b"")
    rotated = Sealer(NEW, OLD)
    assert rotated.open(old, b"") == b"secret"
    with pytest.raises(Unsealable):
        Sealer(OLD).open(rotated.seal(b"secret", b""), b"")


def test_a_forked_process_does_not_count_on_from_its_parent() -> None:
    sealer = Sealer(OLD)
    sealer.seal(b"", b"")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, sealer.seal(b"", b""))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 100)
    os.close(read)
    os.close(write)
    assert theirs[:21] != sealer.seal(b"", b"")[:21]
    assert sealer.open(theirs, b"") == b""


def test_secrets_and_digests_differ_by_purpose_and_key() -> None:
    sealer = Sealer(OLD)
    assert sealer.secret("a") == Sealer(OLD).secret("a") != sealer.secret("b")
    assert sealer.digest(b"x", "a") == Sealer(OLD).digest(b"x", "a")
    found = {sealer.digest(b"x", "a"), sealer.digest(b"x", "b"), Sealer(NEW).digest(b"x", "a")}
    assert len(found) == 3


def test_a_master_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32"):
        Sealer(b"short")


def test_a_new_master_key_is_taken_up_when_it_is_met() -> None:
    known = [OLD]
    running = Sealer(OLD, reread=lambda: list(known))
    before, digest = running.seal(b"secret", b""), running.digest(b"x", "a")
    known[:] = [NEW, OLD]
    theirs = Sealer(NEW, OLD).seal(b"secret", b"")
    assert running.open(theirs, b"") == b"secret"
    assert generation_of(running.seal(b"", b"")) == generation_of(theirs) == running.generation
    assert generation_of(before) != running.generation
    assert running.open(before, b"") == b"secret"
    # What clients hold (cursors, say) stays good.
    assert running.digest(b"x", "a") == digest


def test_keys_that_cannot_be_read_stop_nobody() -> None:
    def gone() -> list[bytes]:
        raise FileNotFoundError

    sealer = Sealer(OLD, reread=gone)
    assert sealer.open(sealer.seal(b"secret", b""), b"") == b"secret"
    with pytest.raises(Unsealable):
        sealer.open(Sealer(NEW).seal(b"secret", b""), b"")


def test_a_sealer_goes_to_another_process_with_all_its_keys() -> None:
    sealer = pickle.loads(pickle.dumps(Sealer(NEW, OLD)))
    assert sealer.open(Sealer(OLD).seal(b"secret", b""), b"") == b"secret"
    assert sealer.generation == Sealer(NEW).generation
