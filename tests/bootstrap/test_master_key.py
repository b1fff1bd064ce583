"""The files of the master key: made once, never lost, in order."""

from __future__ import annotations

import threading
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from bootstrap.master_key import NotInFiles, add_generation, master_keys
from bootstrap.settings import Settings, SettingsError, load


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
