"""GGUF through llama.cpp's own converter, the one that is kept up with every architecture.

Its makers publish it in their repository alone: the `gguf` package reads and writes the format but converts nothing. So
it is a program on the PATH, and a clear statement of what to do where there is none.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import StageFailed, UserError
from stages.export.weights import Written

PROGRAMS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
OUTTYPES = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
SECONDS = 3600
SOURCE = "https://github.com/ggml-org/llama.cpp"


def find(to: Path, dtype: str) -> str:
    """The converter on the PATH; UserError with the commands to do without us where there is none."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    merged = shlex.quote(f"{to}-merged")
    raise UserError(
        f"GGUF is written by llama.cpp's converter, and neither {' nor '.join(PROGRAMS)} is on the PATH",
        where="--format gguf",
        remedy="put it there (a checkout of llama.cpp holds it), or by hand:\n"
        f"     posttune export RECIPE STAGE --to {merged} --dtype {dtype}\n"
        f"     git clone --depth 1 {SOURCE} && python llama.cpp/convert_hf_to_gguf.py {merged}"
        f" --outfile {shlex.quote(f'{to.name}.gguf')} --outtype {OUTTYPES[dtype]}",
    )


def convert(program: str, merged: Written, name: str, dtype: str) -> Written:
    """Replace the merged folder's files by one GGUF, `name`.gguf."""
    file = f"{name}.gguf"
    _call([program, str(merged.folder), "--outfile", str(merged.folder / file), "--outtype", OUTTYPES[dtype]])
    if not (merged.folder / file).is_file():
        raise StageFailed("wrote no file", where=program, remedy="see what it says when called by hand")
    for path in merged.folder.iterdir():
        if path.is_dir():  # the tokenizer's further chat templates
            shutil.rmtree(path)
        elif path.name not in (file, "posttune.json"):
            path.unlink()
    return replace(merged, kind="gguf", file=file)


def _call(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StageFailed(f"could not be run: {error}", where=command[0], remedy="call it by hand") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise StageFailed(
            f"ended with status {done.returncode}: {lines[-1][:300] if lines else 'no message'}",
            where=command[0],
            remedy="a tokenizer or an architecture that it does not know is llama.cpp's to add; --format merged works",
        )
