"""README.md of an export: what it is, how to load it, and how it was checked."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract import Artifact
from stages.export.agreement import Agreement
from stages.export.weights import Written


def write_card(written: Written, artifact: Artifact, place: Path, found: Agreement, system: str | None = None) -> None:
    """An adapter keeps the stage's own note, with the check below it. `system`: the turn that its rows begin with."""
    file = written.folder / "README.md"
    head = (
        file.read_text("utf-8").rstrip().splitlines() if written.kind == "adapter" else _head(written, artifact, place)
    )
    asked = [f"Its rows begin with this system prompt; without it, it may answer otherwise:\n\n> {system}", ""]
    lines = [
        *head,
        "",
        *(asked if system else []),
        "## How it was checked",
        "",
        *(line.strip() for line in found.told()),
        "",
    ]
    file.write_text("\n".join(lines), "utf-8")


def _head(written: Written, artifact: Artifact, place: Path) -> list[str]:
    origin = f", artifact `{artifact.digest[:12]}`" if artifact.digest else ""
    lines = [
        f"# {place.name}",
        "",
        f"The policy `{artifact.name}`{origin}, written by posttune, on the base `{written.base.label}`,",
        "whose licence holds for these weights too.",
        "",
    ]
    if written.kind == "gguf":
        return [
            *lines,
            f"`{written.file}` holds weights, tokenizer and chat template, for llama.cpp and what is built on it.",
        ]
    return [
        *lines,
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'model = AutoModelForCausalLM.from_pretrained(".", dtype="{written.dtype}").eval()',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        'messages = [{"role": "user", "content": "..."}]',
        'given = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")',
        "answer = model.generate(**given, max_new_tokens=256)[0, given['input_ids'].shape[1] :]",
        "print(tokenizer.decode(answer, skip_special_tokens=True))",
        "```",
    ]
