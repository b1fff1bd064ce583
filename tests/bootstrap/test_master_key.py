"""The files of the master key: made once, never lost, in order."""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from adapters.sealing import Sealer, Unsealable
from bootstrap.master_key import (
    KeyChanged,
    NotInFiles,
    add_generation,
    discard_earlier,
    master_keys,
)
from bootstrap.settings import Settings, SettingsError, load
from bootstrap.wiring.keys import sealer_of


def settings_in(home: Path) -> Settings:
    return load({}, home=home)


def test_generations_lie_beside_each_other_newest_first(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    [first] = master_keys(settings)
    assert master_keys(settings) == (first,)
    assert add_generation(settings) == 2
    second, *rest = master_keys(settings)
    assert rest == [first]
    for number in range(3, 13):
        assert add_generation(settings) == number
    keys = master_keys(settings)
    assert (len(set(keys)), keys[-2:]) == (12, (second, first))
    assert b64decode((tmp_path / "master.key.2").read_text()) == second
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("master.key*")} == {0o600}


def test_of_rotations_at_once_none_loses_a_key(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    numbers: list[int] = []
    threads = [
        threading.Thread(target=lambda: numbers.append(add_generation(settings))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(2, 10))
    assert len(set(master_keys(settings))) == 9


def test_a_key_that_is_a_setting_is_left_to_whoever_sets_it(tmp_path: Path) -> None:
    new, old = (b64encode(bytes([number]) * 32).decode() for number in (2, 1))
    settings = load(
        {"MINDSTREAM_MASTER_KEY": new, "MINDSTREAM_MASTER_KEY_PREVIOUS": f"{old}, {new}"},
        home=tmp_path,
    )
    assert master_keys(settings)[:2] == (b"\2" * 32, b"\1" * 32)
    with pytest.raises(NotInFiles):
        add_generation(settings)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SettingsError, match="32 bytes"):
        load({"MINDSTREAM_MASTER_KEY_PREVIOUS": f"{old},short"}, home=tmp_path)


def test_a_broken_file_is_told_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "master.key").write_text("short")
    with pytest.raises(ValueError, match="base64 of 32 bytes"):
        master_keys(settings_in(tmp_path))


def test_discarded_keys_are_gone_and_what_is_derived_stays(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    at_first = sealer_of(settings)
    sealed = at_first.seal(b"secret", b"")
    add_generation(settings)
    add_generation(settings)
    running = sealer_of(settings)
    [newest, *_] = master_keys(settings)
    with pytest.raises(KeyChanged):
        discard_earlier(settings, at_first.generation)
    assert len(master_keys(settings)) == 3
    assert discard_earlier(settings, running.generation) == 2
    assert master_keys(settings) == (newest,)
    assert discard_earlier(settings, running.generation) == 0
    started = sealer_of(settings)
    with pytest.raises(Unsealable):
        started.open(sealed, b"")
    running.refresh()
    assert started.secret("x") == running.secret("x") == at_first.secret("x")
    assert (tmp_path / "master.root").stat().st_mode & 0o777 == 0o600
    # No number is used again: somebody may keep a copy of what had it.
    assert add_generation(settings) == 4
    assert discard_earlier(settings, sealer_of(settings).generation) == 1
    assert sealer_of(settings).secret("x") == at_first.secret("x")
    assert add_generation(settings) == 5


def test_what_is_derived_is_the_same_as_ever() -> None:
    """Cursors, links and digests in clients' hands were made by this value."""
    secret = "67ab86969e534d056602222305350b15a74fb0f4d02bdb21ad5a1dc3a225b4ca"
    assert Sealer(bytes(range(32))).secret("cursors").hex() == secret
