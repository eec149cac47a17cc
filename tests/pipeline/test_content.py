"""Digests of what recipes name, and their cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import content
from pipeline.content import ContentCache, data_digest, data_files, model_digest, row_digests
from pipeline.contract import DataSource, ModelConfig

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # SHA-256 of "abc", FIPS 180-2 appendix B.1


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "hashes.json")


def test_digest_is_sha256_of_the_content(tmp_path: Path, cache: ContentCache) -> None:
    (tmp_path / "a").write_text("abc", "utf-8")
    assert cache.digest(tmp_path / "a") == ABC


def test_digest_comes_from_the_cache_when_size_time_and_inode_are_equal(tmp_path: Path, cache: ContentCache) -> None:
    file = tmp_path / "a"
    file.write_text("abc", "utf-8")
    os.utime(file, (100, 100))
    cache.digest(file)
    cache.save()
    with file.open("r+") as stream:
        stream.write("xyz")
    os.utime(file, (100, 100))
    assert ContentCache(tmp_path / "hashes.json").digest(file) == ABC
    os.utime(file, (101, 101))
    assert ContentCache(tmp_path / "hashes.json").digest(file) != ABC


def test_cache_starts_empty_when_its_file_is_torn(tmp_path: Path) -> None:
    (tmp_path / "hashes.json").write_text('{"a": [1,', "utf-8")
    (tmp_path / "a").write_text("abc", "utf-8")
    assert ContentCache(tmp_path / "hashes.json").digest(tmp_path / "a") == ABC


@pytest.mark.parametrize("torn", ["[]", "null", '{"a": 3}'])
def test_cache_starts_empty_when_its_file_holds_something_else(
    tmp_path: Path, torn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hashes.json").write_text(torn, "utf-8")
    Path("a").write_text("abc", "utf-8")
    assert ContentCache(Path("hashes.json")).digest(Path("a")) == ABC


def test_cache_creates_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc", "utf-8")
    cache = ContentCache(tmp_path / "runs" / "hashes.json")
    cache.digest(tmp_path / "a")
    cache.save()
    assert not (tmp_path / "runs").exists()


def test_large_file_counts_with_size_head_and_tail(
    tmp_path: Path, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "WHOLE_FILE", 2**21)
    file = tmp_path / "w"
    seen = set()
    for tail, size in ((b"a", 3 * 2**20), (b"b", 3 * 2**20), (b"a", 3 * 2**20 + 1)):
        file.write_bytes(bytes(size - 1) + tail)
        seen.add(cache.digest(file))
    assert len(seen) == 3


def test_data_files_of_file_folder_and_glob(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", ".hidden", "c.csv"):
        (tmp_path / name).write_text("x", "utf-8")
    names = [[f.name for f in data_files(DataSource(path=str(tmp_path / p)))] for p in ("b.jsonl", "", "*.jsonl", "z*")]
    assert names == [["b.jsonl"], ["a.jsonl", "b.jsonl", "c.csv"], ["a.jsonl", "b.jsonl"], []]


def test_path_too_long_for_the_system_is_missing_not_an_error(cache: ContentCache) -> None:
    assert data_digest(DataSource(path="x" * 5000), cache) == "missing"


def test_hub_id_counts_with_the_commit_in_the_local_cache(
    tmp_path: Path, cache: ContentCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--org--m" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("c0ffee\n", "utf-8")
    assert model_digest(ModelConfig(model_name_or_path="org/m"), cache) == "c0ffee"
    assert model_digest(ModelConfig(model_name_or_path="org/other"), cache) == "unresolved"
    assert model_digest(ModelConfig(model_name_or_path="org/other", revision="v1"), cache) == "v1"


def test_package_model_counts_with_its_version(cache: ContentCache) -> None:
    assert (
        model_digest(ModelConfig(model_name_or_path="package:no-such-thing"), cache) == "no-such-thing is not installed"
    )
    assert model_digest(ModelConfig(model_name_or_path="package:pyyaml"), cache).startswith("pyyaml==6")


def test_model_folder_counts_with_names_and_contents(tmp_path: Path, cache: ContentCache) -> None:
    config = ModelConfig(model_name_or_path=str(tmp_path / "m"))
    (tmp_path / "m").mkdir()
    seen = set()
    for name, text in (("a", "1"), ("a", "2"), ("b", "2")):
        (tmp_path / "m" / name).write_text(text, "utf-8")
        seen.add(model_digest(config, cache))
    assert len(seen) == 3


def test_row_digests_tell_nothing_of_binary_or_absent_files(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    assert row_digests(DataSource(path=str(tmp_path / "a.parquet"))) is None
    assert row_digests(DataSource(path="org/set")) is None
