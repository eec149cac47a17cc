# ruff: noqa: E501
"""Malformed recipes: each a change of GOOD, with the place and the finding that the refusal must name."""

from __future__ import annotations

from dataclasses import dataclass

GOOD = """\
name: small
model: {model_name_or_path: base-model, lora: {r: 4}}
data:
  rows: {path: rows.jsonl}
tasks:
  desk: {json_schema: {type: object}}
stages:
  sft: {policy: base, data: rows}
  rm: {policy: sft, data: rows}
  ppo: {policy: sft, data: rows}
"""


@dataclass(frozen=True)
class Case:
    """One malformed recipe. `old` -> `new` in GOOD, unless `text` is the whole file."""

    id: str
    where: str
    problem: str
    old: str = ""
    new: str = ""
    text: str | bytes | None = None
    arguments: tuple[str, ...] = ("r.yaml",)

    @property
    def content(self) -> bytes:
        if self.text is not None:
            return self.text if isinstance(self.text, bytes) else self.text.encode()
        assert self.old in GOOD
        return GOOD.replace(self.old, self.new, 1).encode()


def _set(name: str, pair: str, problem: str) -> Case:
    return Case(name, f"--set {pair}", problem, arguments=("r.yaml", "--set", pair))


CASES = [
    # keys
    Case("unknown-key-top", "r.yaml:1: sed", "unknown key 'sed'", "name: small", "sed: 3"),
    Case("unknown-key-model", "r.yaml:2: model.dtyp", "unknown key 'dtyp'", "lora:", "dtyp: auto, lora:"),
    Case("unknown-key-lora", "r.yaml:2: model.lora.rank", "unknown key 'rank'", "r: 4", "rank: 4"),
    Case("unknown-key-data", "r.yaml:4: data.rows.pth", "unknown key 'pth'", "path: rows", "pth: rows"),
    Case("unknown-key-stage", "r.yaml:8: stages.sft.epochs", "unknown key 'epochs'", "policy: base", "epochs: 2"),
    Case("unknown-key-task", "r.yaml:6: tasks.desk.schema", "unknown key 'schema'", "json_schema", "schema"),
    Case("unknown-key-tracking", "r.yaml:1: tracking.wandb.key", "unknown key 'key'", "name: small", "tracking: {wandb: {key: x}}"),
    Case("missing-model", "r.yaml", "the key 'model' is missing", text="stages: {sft: {data: rows}}\n"),
    Case("missing-stages", "r.yaml", "the key 'stages' is missing", text="model: {model_name_or_path: m}\n"),
    Case("missing-data-of-stage", "r.yaml:8: stages.sft.data", "the key 'data' is missing", "base, data: rows", "base"),
    Case("key-that-is-a-number", "r.yaml:1", "a key must be text, found 3", "name: small", "3: small"),
    Case("duplicate-key", "r.yaml:9", "the key 'sft' is given twice", "rm: {", "sft: {"),
    # values
    Case("seed-is-text", "r.yaml:1: seed", "'seed' is 'many'", "name: small", "seed: many"),
    Case("seed-negative", "r.yaml:1: seed", "'seed' is -1", "name: small", "seed: -1"),
    Case("number-negative", "r.yaml:8: stages.sft.max_length", "'max_length' is -5", "policy: base", "max_length: -5"),
    Case("number-nan", "r.yaml:10: stages.ppo.kl_coef", "'kl_coef' is nan", "ppo: {", "ppo: {kl_coef: .nan, "),
    Case("number-infinite", "r.yaml:8: stages.sft.learning_rate", "'learning_rate' is inf", "policy: base", "learning_rate: .inf"),
    Case("number-is-list", "r.yaml:8: stages.sft.learning_rate", "'learning_rate' is [1]", "policy: base", "learning_rate: [1]"),
    Case("fraction-of-one", "r.yaml:1: heldout_fraction", "'heldout_fraction' is 1", "name: small", "heldout_fraction: 1.0"),
    Case("literal-unknown", "r.yaml:2: model.dtype", "'dtype' is 'int4'", "lora:", "dtype: int4, lora:"),
    Case("loss-unknown", "r.yaml:8: stages.sft.loss_on", "'loss_on' is 'all'", "policy: base", "loss_on: all"),
    Case("part-malformed", "r.yaml:4: data.rows.part", "'part' is 'half'", "rows.jsonl", "rows.jsonl, part: half"),
    Case("part-out-of-range", "r.yaml:4: data.rows.part", "'3/2' is no part", "rows.jsonl", "rows.jsonl, part: 3/2"),
    Case("rows-from-nowhere", "r.yaml:4: data.rows", "names no rows", "path: rows.jsonl", "limit: 3"),
    Case("rows-from-two-places", "r.yaml:4: data.rows", "both a path (rows.jsonl) and a stage (sft)", "rows.jsonl", "rows.jsonl, from: sft"),
    Case("rows-from-a-list", "r.yaml:4: data.rows.from", "'from' is ['sft']", "path: rows.jsonl", "from: [sft]"),
    Case("model-is-text", "r.yaml:2: model", "'model' must hold keys", "{model_name_or_path: base-model, lora: {r: 4}}", "m"),
    Case("stages-is-list", "r.yaml:2: stages", "'stages' must hold keys", text="model: {model_name_or_path: m}\nstages: [sft]\n"),
    Case("stage-is-empty", "r.yaml:2: stages.sft", "'sft' must hold keys", text="model: {model_name_or_path: m}\nstages: {sft: }\n"),
    Case("date-that-is-none", "r.yaml:1", "'2026-02-31' is no value", "name: small", "description: 2026-02-31"),
    Case("mini-batches-unequal", "r.yaml:10: stages.ppo", "must divide into", "ppo: {", "ppo: {num_mini_batches: 5, "),
    Case("kl-target-without-coefficient", "r.yaml:10: stages.ppo", "would stay 0", "ppo: {", "ppo: {kl_target: 6, kl_coef: 0, "),
    Case("group-of-one", "r.yaml:10: stages.ppo.num_samples_per_prompt", "'num_samples_per_prompt' is 1", "ppo: {", "ppo: {kind: rloo, num_samples_per_prompt: 1, "),
    Case("value-setting-without-value-model", "r.yaml:10: stages.ppo.gae_lambda", "unknown key 'gae_lambda'", "ppo: {", "ppo: {kind: grpo, gae_lambda: 0.9, "),
    Case("setting-the-loss-does-not-read", "r.yaml:10: stages.dpo", "does not read label_smoothing", "ppo: {policy: sft", "dpo: {policy: sft, label_smoothing: 0.1"),
    Case("setting-the-loss-needs", "r.yaml:10: stages.dpo", "cdpo needs label_smoothing", "ppo: {policy: sft", "dpo: {policy: sft, loss_type: cdpo"),
    Case("ties-the-loss-does-not-read", "r.yaml:9: stages.rm", "does not read ties soft", "rm: {policy: sft", "rm: {policy: sft, loss_type: plackett_luce, ties: soft"),
    Case("ties-without-theta", "r.yaml:9: stages.rm", "ties rao_kupper needs theta", "rm: {policy: sft", "rm: {policy: sft, ties: rao_kupper"),
    Case("precision-not-built", "r.yaml:1: launch.mixed_precision", "'mixed_precision' is 'bf16'", "name: small", "launch: {mixed_precision: bf16}"),
    Case("machines-not-built", "r.yaml:1: launch.num_machines", "'num_machines' is 2", "name: small", "launch: {num_machines: 2}"),
    Case("path-with-nul", "r.yaml:4: data.rows.path", "names nothing", "rows.jsonl", '"a\\0b"'),
    Case("package-without-name", "r.yaml:2: model.model_name_or_path", "names nothing", "base-model", '"package:"'),
    Case("extends-too-long", "r.yaml:1: extends", "there is no file", "name: small", f"extends: {'a' * 300}.yaml"),
    Case("name-too-long", "r.yaml:1: name", "cannot name a folder", "small", "a" * 300),
    # names
    Case("name-not-a-folder", "r.yaml:1: name", "'../up' cannot name a folder", "small", "../up"),
    Case("name-with-nul", "r.yaml:1: name", "cannot name a folder", "small", '"a\\0b"'),
    Case("name-absolute", "r.yaml:1: name", "cannot name a folder", "small", "/etc"),
    Case("name-of-dots", "r.yaml:1: name", "cannot name a folder", "small", "'..'"),
    Case("stage-leads-out", "r.yaml:8: stages.../up", "cannot be called '../up'", "sft: {", "../up: {kind: sft, "),
    Case("stage-absolute", "r.yaml:8: stages./etc", "cannot be called '/etc'", "sft: {", "/etc: {kind: sft, "),
    Case("stage-called-as-a-run-file", "r.yaml:8: stages.index.json", "cannot be called 'index.json'", "sft: {", "index.json: {kind: sft, "),
    Case("stage-name-too-long", "r.yaml:8: stages.aaa", "a stage cannot be called", "sft: {", f"{'a' * 300}: {{kind: sft, "),
    Case("kind-is-a-dotted-path", "r.yaml:8: stages.sft", "no stage kind 'os:system'", "sft: {", "sft: {kind: 'os:system', "),
    Case("function-is-an-expression", "r.yaml:10: stages.ppo.reward_functions.f.function", "'function' is", "ppo: {", "ppo: {reward_functions: {f: {function: \"os:system('touch canary')\"}}, "),
    Case("function-leads-out", "r.yaml:10: stages.ppo.reward_functions.f.function", "'function' is", "ppo: {", "ppo: {reward_functions: {f: {function: '../up:f'}}, "),
    Case("stage-called-test", "r.yaml:8: stages.test", "a stage cannot be called 'test'", "sft: {", "test: {kind: sft, "),
    Case("stage-called-base", "r.yaml:8: stages.base", "a stage cannot be called 'base'", "sft: {", "base: {kind: sft, "),
    Case("stage-called-as-data", "r.yaml:8: stages.rows", "cannot be called 'rows'", "sft: {", "rows: {kind: sft, "),
    Case("kind-unknown", "r.yaml:8: stages.sft", "there is no stage kind 'sfft'", "sft: {", "sft: {kind: sfft, "),
    Case("task-unknown", "r.yaml:4: data.rows.task", "there is no task 'dsk'", "rows.jsonl", "rows.jsonl, task: dsk"),
    Case("data-unknown", "r.yaml:8: stages.sft.data", "no data source 'rowss'", "base, data: rows", "base, data: rowss"),
    Case("data-names-nothing", "r.yaml:8: stages.sft.data", "names no data source", "base, data: rows", "base, data: []"),
    Case("stage-unknown", "r.yaml:9: stages.rm.policy", "there is no stage 'stf'", "rm: {policy: sft", "rm: {policy: stf"),
    Case("rm-as-policy", "r.yaml:10: stages.ppo.policy", "'rm' gives no policy", "ppo: {policy: sft", "ppo: {policy: rm"),
    Case("sft-as-reward", "r.yaml:10: stages.ppo.reward", "'sft' gives no reward", "ppo: {", "ppo: {reward: sft, "),
    Case("ring-of-two", "r.yaml", "stages wait for each other", "policy: base", "policy: ppo"),
    Case("rows-stage-unknown", "r.yaml:4: data.rows.from", "there is no stage 'smple'", "path: rows.jsonl", "from: smple"),
    Case("rows-from-a-policy", "r.yaml:4: data.rows.from", "'sft' writes no rows", "path: rows.jsonl", "from: sft"),
    Case("ring-through-rows", "r.yaml", "stages wait for each other", text=GOOD.replace("path: rows.jsonl", "from: sample") + "  sample: {policy: sft, data: rows}\n"),
    Case("own-rows", "r.yaml:12: stages.sample", "wait for each other: sample -> sample", text=GOOD.replace("tasks:", "  made: {from: sample}\ntasks:") + "  sample: {policy: base, data: made}\n"),
    Case("own-input", "r.yaml:8: stages.sft", "stages wait for each other: sft -> sft", "policy: base", "policy: sft"),
    # files
    Case("file-missing", "none.yaml", "No such file", arguments=("none.yaml",)),
    Case("file-is-folder", "base-model", "is a folder", arguments=("base-model",)),
    Case("file-empty", "r.yaml", "the file is empty", text=""),
    Case("file-is-list", "r.yaml", "found a list", text="- sft\n- rm\n"),
    Case("file-not-utf-8", "r.yaml", "not UTF-8 text (byte 6)", text=b"name: \xff\n"),
    Case("file-with-tab", "r.yaml:4", "not valid YAML", "  rows:", "\trows:"),
    Case("file-unclosed", "r.yaml:3", "not valid YAML", "{r: 4}}", "{r: 4}"),
    Case("file-with-two-documents", "r.yaml:2", "not valid YAML", "model:", "---\nmodel:"),
    Case("file-with-python-object", "r.yaml:1", "os.getcwd is not allowed", "small", "!!python/object/apply:os.getcwd []"),
    Case("alias-bomb", "r.yaml", "more than 100000 values", text="a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 8))),
    Case("alias-in-itself", "r.yaml", "nested too deep", text="a: &a [*a]\n"),
    Case("file-with-python-name", "r.yaml:1", "python/name:os.system", "small", "!!python/name:os.system ''"),
    Case("file-with-python-module", "r.yaml:4", "python/module:os", "rows.jsonl", "!!python/module:os ''"),
    Case("file-with-python-mapping", "r.yaml:2", "object/new:os.system is not allowed", "{model_name", "!!python/object/new:os.system {model_name"),
    Case("file-with-own-tag", "r.yaml:1", "not valid YAML", "small", "!run 'touch canary'"),
    Case("file-with-set", "r.yaml:2", "the tag tag:yaml.org,2002:set is not allowed", text="name: x\nstages: !!set {sft}\n"),
    Case("name-in-bytes", "r.yaml:1: name", "'../up' cannot name a folder", "small", "!!binary Li4vdXA="),
    Case("file-nested-deep", "r.yaml", "nested too deep", text="a: " + "[" * 5000),
    Case("file-nested-deep-mappings", "r.yaml", "nested too deep", text="a: " + "{b: " * 5000),
    Case("file-of-zeros", "r.yaml", "not valid YAML", text=b"\0" * 100),
    Case("number-of-5000-digits", "r.yaml:1", "is no value", "name: small", f"seed: {'9' * 5000}"),
    Case("extends-with-nul", "r.yaml:1: extends", "there is no file", "name: small", 'extends: "a\\0b"'),
    Case("extends-a-folder", "base-model", "is a folder", "name: small", "extends: base-model"),
    Case("extends-what-is-no-recipe", "rows.jsonl", "", "name: small", "extends: rows.jsonl"),
    Case("extends-missing", "r.yaml:1: extends", "there is no file none.yaml", "name: small", "extends: none.yaml"),
    Case("extends-itself", "r.yaml", "extends itself", "name: small", "extends: r.yaml"),
    Case("extends-is-list", "r.yaml:1: extends", "must be a path", "name: small", "extends: [r.yaml]"),
    # command
    Case("argument-stage-unknown", "r.yaml", "there is no stage 'pppo'", arguments=("r.yaml", "pppo")),
    Case("force-stage-unknown", "r.yaml", "there is no stage 'pppo'", arguments=("r.yaml", "--force", "pppo")),
    Case("option-unknown", "", "No such option: --fast", arguments=("r.yaml", "--fast")),
    _set("set-stage-unknown", "stf.max_length=3", "there is no stage or section 'stf'"),
    _set("set-key-unknown", "sft.max_lenght=3", "unknown key 'max_lenght'"),
    _set("set-wrong-type", "sft.max_length=long", "'max_length' is 'long'"),
    _set("set-without-value", "sft.max_length", "an override is key=value"),
    _set("set-not-yaml", "sft.max_length=[1", "is not valid YAML"),
    _set("set-python-object", "sft.max_length=!!python/object/apply:os.system ['touch canary']", "is not valid YAML"),
    _set("set-name-leads-out", "name=../up", "cannot name a folder"),
    _set("set-extends", "extends=x.yaml", "is read before any override"),
    Case("force-stage-not-asked-for", "--force ppo", "not among the stages asked for", arguments=("r.yaml", "sft", "--force", "ppo")),
    Case("runs-is-a-file", "", "is a file", arguments=("r.yaml", "--runs", "r.yaml")),
    _set("set-into-a-value", "name.first=x", "'name' holds a value"),
]  # fmt: skip
