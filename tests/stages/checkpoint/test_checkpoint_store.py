"""Checkpoints on disk: whole, kept twice, and never trusted when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.errors import StageFailed
from stages.checkpoint import state, store


def put(folder: Path, step: int) -> Path:
    def write(place: Path) -> None:
        (place / "inner").mkdir()
        (place / "inner/weights").write_bytes(bytes(range(256)) * step)
        (place / "note").write_text(str(step), "utf-8")

    return store.save(folder, step, write)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def test_newest_returns_what_was_saved_last(tmp_path: Path) -> None:
    put(tmp_path, 2)
    put(tmp_path, 10)
    step, folder = store.newest(tmp_path, pytest.fail) or (0, tmp_path)
    assert (step, (folder / "note").read_text()) == (10, "10")


def test_only_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        put(tmp_path, step)
    assert names(tmp_path) == ["step-000002", "step-000003"]


def test_step_saved_again_replaces_the_first(tmp_path: Path) -> None:
    put(tmp_path, 1)
    store.save(tmp_path, 1, lambda place: (place / "note").write_text("again") and None)
    assert [path.name for path in (tmp_path / "step-000001").iterdir() if path.name != "MANIFEST.json"] == ["note"]
    assert store.newest(tmp_path, pytest.fail) == (1, tmp_path / "step-000001")


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("file", ["inner/weights", "note", "MANIFEST.json"])
def test_damaged_newest_is_set_aside_and_the_one_before_is_used(tmp_path: Path, damage, file: str) -> None:  # type: ignore[no-untyped-def]
    put(tmp_path, 1)
    damage(put(tmp_path, 2) / file)
    said: list[str] = []
    assert store.newest(tmp_path, said.append) == (1, tmp_path / "step-000001")
    assert names(tmp_path) == ["broken-step-000002", "step-000001"]
    assert len(said) == 1 and "step-000002 is damaged" in said[0]


def test_nothing_is_found_when_all_are_damaged(tmp_path: Path) -> None:
    truncate(put(tmp_path, 1) / "note")
    assert store.newest(tmp_path, lambda line: None) is None


def test_leftover_of_a_killed_save_is_removed(tmp_path: Path) -> None:
    put(tmp_path, 1)
    (tmp_path / "step-000002.tmp-77").mkdir()
    (tmp_path / "step-000002.tmp-77/note").write_text("half")
    assert store.newest(tmp_path, pytest.fail) == (1, tmp_path / "step-000001")
    assert names(tmp_path) == ["step-000001"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk without space")
def test_full_disk_is_named_and_keeps_no_half_checkpoint(tmp_path: Path) -> None:
    put(tmp_path, 1)

    def write(place: Path) -> None:
        (place / state.FILE).symlink_to("/dev/full")
        state.write(place, {"weights": torch.zeros(10_000)})

    with pytest.raises(StageFailed, match="No space left on device"):
        store.save(tmp_path, 2, write)
    assert names(tmp_path) == ["step-000001"]


def test_folder_kept_beside_the_checkpoints_outlives_them_and_shows_its_damage(tmp_path: Path) -> None:
    store.put(tmp_path / "kept", lambda place: (place / "note").write_text("x") and None)
    for step in (1, 2, 3):
        put(tmp_path, step)
    assert store.newest(tmp_path, pytest.fail) == (3, tmp_path / "step-000003")
    assert names(tmp_path) == ["kept", "step-000002", "step-000003"]
    assert store.damage(tmp_path / "kept") is None
    truncate(tmp_path / "kept/note")
    assert "note does not match" in str(store.damage(tmp_path / "kept"))


@pytest.mark.parametrize("folder", [None, Path("missing")])
def test_nothing_is_found_where_nothing_was_saved(folder: Path | None) -> None:
    assert store.newest(folder, pytest.fail) is None


def test_full_disk_is_told_and_the_checkpoint_before_stays(tmp_path: Path) -> None:
    put(tmp_path, 1)

    def fill(place: Path) -> None:
        (place / "part").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(StageFailed, match="No space left"):
        store.save(tmp_path, 2, fill)
    assert names(tmp_path) == ["step-000001"]
    assert store.newest(tmp_path, pytest.fail) == (1, tmp_path / "step-000001")
