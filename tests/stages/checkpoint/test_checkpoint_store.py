"""Checkpoints on disk: whole, kept twice, and never trusted when damaged."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from pipeline.contract import Saving
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


class Clock:
    """Seconds that a test lets pass."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def fill(place: Path) -> None:
    (place / "note").write_bytes(bytes(1000))


def test_checkpoint_is_due_every_so_many_steps_and_minutes(tmp_path: Path) -> None:
    clock = Clock()
    saver = store.Saver(tmp_path, Saving(save_steps=3, save_minutes=2), clock)
    assert [saver.is_due(step) for step in (1, 2, 3, 4, 6)] == [False, False, True, False, True]
    clock.now = 120.0
    assert saver.is_overdue and saver.is_due(4)
    saver.save(4, fill)
    clock.now = 239.0
    assert not saver.is_overdue and not saver.is_due(5)
    clock.now = 240.0
    assert saver.is_due(5)


def test_as_many_checkpoints_stay_as_the_limit_says(tmp_path: Path) -> None:
    saver = store.Saver(tmp_path, Saving(save_total_limit=3))
    for step in range(1, 6):
        saver.save(step, fill)
    assert names(tmp_path) == ["step-000003", "step-000004", "step-000005"]


def test_nothing_is_due_without_a_folder() -> None:
    saver = store.Saver(None, Saving(save_steps=1, save_minutes=1e-9))
    assert not saver.is_due(1) and not saver.is_overdue
    saver.save(1, lambda place: pytest.fail("there is no place"))


def test_checkpoint_that_would_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(tmp_path, 1, fill)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))  # type: ignore[attr-defined]
    with pytest.raises(StageFailed, match=r"takes 0 MB, and 0 are free(?s:.*)the checkpoint before it is intact"):
        store.save(tmp_path, 2, lambda place: pytest.fail("begun"))
    assert names(tmp_path) == ["step-000001"] and store.damage(tmp_path / "step-000001") is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("no small file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def as_torch_does(place: Path) -> None:
    state.write(place, {"weights": torch.zeros(10**6)})


def as_safetensors_does(place: Path) -> None:
    save_file({"weights": torch.zeros(10**6)}, place / "weights.safetensors")


@pytest.mark.parametrize("large", [as_torch_does, as_safetensors_does])
def test_full_disk_is_told_as_such_and_the_checkpoint_before_stays(
    small_disk: Path, large: Callable[[Path], None]
) -> None:
    folder = small_disk / "checkpoints"
    store.save(folder, 1, fill)
    with pytest.raises(StageFailed, match="No space left on device"):
        store.save(folder, 2, large)
    assert names(folder) == ["step-000001"]
    assert store.newest(folder, pytest.fail) == (1, folder / "step-000001")


def test_error_that_is_not_the_disks_comes_through(tmp_path: Path) -> None:
    def fails(place: Path) -> None:
        raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        store.save(tmp_path, 1, fails)
    assert names(tmp_path) == []


def test_checkpoint_of_a_step_that_is_saved_again_stays_until_the_new_one_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(tmp_path, 1, fill)
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if ".tmp-" in path.name:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as once, pytest.raises(KeyboardInterrupt):
        once.setattr(Path, "rename", killed)
        store.save(tmp_path, 1, lambda place: (place / "note").write_text("new") and None)
    assert store.newest(tmp_path, pytest.fail) == (1, tmp_path / "step-000001")
    assert (tmp_path / "step-000001" / "note").read_bytes() == bytes(1000)
    assert names(tmp_path) == ["step-000001"]
