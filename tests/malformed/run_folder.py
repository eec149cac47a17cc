# ruff: noqa: E501
"""Hostile run folders: each a change of one file of a finished toy chain, with the place and the finding to be named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Change = Callable[[Path], None]  # of the file at that path
DEEP = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
SFT = "sft/*/manifest.json"


@dataclass(frozen=True)
class Case:
    """One hostile file (a glob under the run folder), and what refuses it."""

    id: str
    where: str
    problem: str
    file: str
    change: Change | bytes
    stage: str = "rm"  # the stage that is asked for

    def apply(self, folder: Path) -> None:
        (path,) = folder.glob(self.file)
        path.write_bytes(self.change) if isinstance(self.change, bytes) else self.change(path)


def seal(manifest: Path) -> None:
    """Make a manifest vouch for the files that are there now, as someone would who wants them believed."""
    held = json.loads(manifest.read_text("utf-8"))
    folder = manifest.parent
    files = sorted(path for path in (folder / "output").rglob("*") if path.is_file())
    held["files"] = {
        path.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
        for path in files
    }
    held["digest"] = _digest(held["files"])
    manifest.write_text(json.dumps(held), "utf-8")


def _digest(files: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps({name: entry["sha256"] for name, entry in files.items()}).encode()).hexdigest()


def _put(**values: Any) -> Change:
    """Other values in a JSON object."""

    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")

    return change


def _listing(name: str) -> Change:
    """A manifest, in itself sound, that lists a file of another name."""
    entry = {"sha256": hashlib.sha256(b"secret").hexdigest(), "size": 6}
    return _put(files={name: entry}, digest=_digest({name: entry}))


def _of_weights(**values: Any) -> Change:
    """Another entry for the weights."""

    def change(path: Path) -> None:
        files = json.loads(path.read_text("utf-8"))["files"]
        files["output/weights.json"] |= values
        _put(files=files, digest=_digest(files))(path)

    return change


def _flip(path: Path) -> None:
    held = bytearray(path.read_bytes())
    held[3] ^= 1
    path.write_bytes(held)


def _link_out(path: Path) -> None:
    outside = path.parents[4] / "outside.json"
    path.rename(outside)
    path.symlink_to(outside)


def _plant(name: str) -> Change:
    """Another file beside the one at the path."""

    def change(path: Path) -> None:
        path.with_name(name).write_text("planted", "utf-8")

    return change


def _manifest(name: str, problem: str, change: Change | bytes) -> Case:
    return Case(f"manifest-{name}", "runs/chain/sft/", problem, SFT, change)


def _index(name: str, change: Change | bytes) -> Case:
    return Case(f"index-{name}", "runs/chain/index.json", "is not the index", "index.json", change)


def _state(name: str, change: Change | bytes) -> Case:
    return Case(f"state-{name}", "runs/chain/ppo/", "is not the state", "ppo/*/state.json", change, stage="ppo")


OUTSIDE = "is not a file of its output"
REFUSED = [
    _manifest("empty", "not JSON", b""),
    _manifest("not-json", "not JSON", b"{files"),
    _manifest("not-utf-8", "not JSON", b'{"a": "\xff"}'),
    _manifest("deep", "not JSON", DEEP),
    _manifest("huge-number", "not JSON", b'{"size": ' + b"9" * 5000 + b"}"),
    _manifest("list", "a list instead of an object", b"[]"),
    _manifest("of-another-run", "fingerprint is another's", _put(fingerprint="0" * 64)),
    _manifest("fingerprint-is-number", "fingerprint is another's", _put(fingerprint=1)),
    _manifest("files-is-list", "lists no files", _put(files=[])),
    _manifest("entry-is-text", "has no size", _put(files={"output/weights.json": "x"})),
    _manifest("size-is-text", "has no size", _of_weights(size="66")),
    _manifest("size-is-true", "has no size", _of_weights(size=True)),
    _manifest("hash-is-text", "has no SHA-256", _of_weights(sha256="abc")),
    _manifest("hash-is-list", "has no SHA-256", _put(files={"output/weights.json": {"size": 1, "sha256": []}})),
    _manifest("path-up", OUTSIDE, _listing("output/../../../../../secret")),
    _manifest("path-up-at-once", OUTSIDE, _listing("../secret")),
    _manifest("path-absolute", OUTSIDE, _listing("/etc/hostname")),
    _manifest("path-with-nul", OUTSIDE, _listing("output/a\0b")),
    _manifest("path-of-its-folder", OUTSIDE, _listing(".")),
    _manifest("path-of-a-checkpoint", OUTSIDE, _listing("checkpoints/step-000002/weights.json")),
    _manifest("digest-of-others", "its digest is not that of its files", _put(digest="0" * 64)),
    _manifest("metrics-are-text", "its metrics are no numbers", _put(metrics={"loss": "low"})),
    _manifest("seconds-are-text", "it says no seconds", _put(seconds="long")),
    _manifest("size-wrong", "its manifest says 7", _of_weights(size=7)),
    _manifest("hash-wrong", "its SHA-256 is not that in the manifest", _of_weights(sha256="0" * 64)),
    Case("output-bit-flipped", "runs/chain/sft/", "is not the file that was published", "sft/*/output/weights.json", _flip),
    Case("output-cut", "runs/chain/sft/", "has 3 bytes", "sft/*/output/weights.json", b'"ab'),
    Case("output-links-out", "runs/chain/sft/", "a link that leads out", "sft/*/output/weights.json", _link_out),
    Case("output-has-more", "runs/chain/sft/", "is not in the manifest", "sft/*/output/weights.json", _plant("adapter_model.bin")),
    Case("output-flipped-before-resume", "runs/chain/sft/", "is not the file that was published", "sft/*/output/weights.json", _flip, stage="ppo"),
    _index("empty", b""),
    _index("not-json", b"{"),
    _index("list", b"[]"),
    _index("deep", DEEP),
    _index("without-stages", b'{"id": "abc"}'),
    _index("stages-is-list", _put(stages=["sft"])),
    _index("pointer-is-number", _put(stages={"sft": 7})),
    _index("pointer-leads-out", _put(stages={"sft": "../../../../../../etc"})),
    _index("recipe-is-list", _put(recipe=["chain.yaml"])),
    _index("id-is-object", _put(id={})),
    _state("not-json", b"{"),
    _state("list", b"[1]"),
    _state("deep", DEEP),
    _state("seconds-is-text", _put(seconds="many")),
    _state("high-water-is-null", _put(high_water=None)),
    _state("run-id-leads-out", _put(wandb_run_id="../../../up")),
]  # fmt: skip

BOMB = b"a: &a [x, x, x, x, x, x, x, x]\n" + b"".join(
    f"{name}: &{name} [{', '.join([f'*{under}'] * 8)}]\n".encode()
    for under, name in zip("abcdefghi", "bcdefghij", strict=True)
)
MARKUP = "</title><script>document.title = 'run'</script><img src=x onerror=alert(1)>"

# What only says how a run looks is never believed and never in the way: (id, file, change).
LOOKED_AT: list[tuple[str, str, Change | bytes]] = [
    ("recipe-not-yaml", "recipe.yaml", b"{"),
    ("recipe-python-object", "recipe.yaml", b"name: !!python/object/apply:os.system ['touch canary']\n"),
    ("recipe-bomb", "recipe.yaml", BOMB + b"name: *j\ndescription: *j\nseed: *j\n"),
    ("recipe-deep", "recipe.yaml", b"[" * 5000),
    ("recipe-bad-date", "recipe.yaml", b"description: 2026-02-31\n"),
    ("recipe-stage-leads-out", "recipe.yaml", b"stages: {../../..: {kind: sft}}\n"),
    ("recipe-markup", "recipe.yaml", f"name: chain\ndescription: \"{MARKUP}\"\n".encode()),
    ("report-not-json", "sft/*/report.json", b"{"),
    ("report-deep", "sft/*/report.json", DEEP),
    ("report-fragments-wrong", "sft/*/report.json", b'{"fragments": [1, {"type": []}, {"type": "table", "rows": 3}]}'),
    ("report-markup", "sft/*/report.json", json.dumps({"fragments": [{"type": "samples", "title": MARKUP, "candidates": [MARKUP], "rows": [{"prompt": MARKUP, "answers": [MARKUP]}]}]}).encode()),
    ("metrics-of-wrong-types", "sft/*/metrics.jsonl", b'[1]\n{"step": "x"}\n{"step": 1, "loss": "<b>"}\n' + DEEP + b"\n\xff\n"),
    ("inputs-not-json", "sft/*/inputs.json", b"{"),
    ("inputs-of-wrong-types", "sft/*/inputs.json", b'{"material": {"data": 3, "inputs": []}, "rows": []}'),
    ("hashes-not-json", "hashes.json", b"{"),
    ("hashes-of-wrong-types", "hashes.json", b'{"rows.jsonl": {"a": 1, "b": 2, "c": 3, "d": 4}, "x": 7}'),
    ("hashes-deep", "hashes.json", DEEP),
    ("config-python-object", "sft/*/config.yaml", b"!!python/object/apply:os.system ['touch canary']\n"),
]  # fmt: skip
