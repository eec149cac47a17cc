"""YAML that remembers its lines, so that an error can name the file, the line and the key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import RecipeError

Key = tuple[str | int, ...]
PLAIN = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
MAX_NODES = 100_000  # anchors can make a short file expand without end


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `2e-4` is a number, as everyone who writes a learning rate expects (YAML 1.1 says text)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


@dataclass
class Document:
    """Plain data with the place of each key."""

    data: dict[str, Any]
    places: dict[Key, str] = field(default_factory=dict)

    def where(self, key: Key) -> str:
        """`file:line: a.b.c` of the key, or of its nearest known parent."""
        dotted = ".".join(str(part) for part in key)
        for cut in range(len(key), -1, -1):
            if key[:cut] in self.places:
                place = self.places[key[:cut]]
                return f"{place}: {dotted}" if dotted else place
        return dotted


def load(path: Path) -> Document:
    """Read one YAML mapping from `path`; duplicate keys, odd tags and other encodings are errors."""
    loader = _open(path)
    try:
        node = loader.get_single_node()
        if node is None:
            raise RecipeError(
                "the file is empty", where=str(path), remedy="see recipes/quickstart.yaml for a whole one"
            )
        document = Document({}, {(): f"{path}:{node.start_mark.line + 1}"})
        data = _construct(loader, node, (), document, path, [0])
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(
            f"not valid YAML: {error.problem}",
            where=f"{path}{line}",
            remedy="check indentation, quotes and colons on this line and the one above",
        ) from None
    except yaml.YAMLError as error:
        raise _unreadable(path, error) from None
    except RecursionError:
        raise RecipeError("values are nested too deep", where=str(path), remedy="no value may hold itself") from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise RecipeError(
            f"a recipe is a mapping of keys, found a {type(data).__name__}",
            where=str(path),
            remedy="see recipes/quickstart.yaml for a whole one",
        )
    document.data = data
    return document


def parse_scalar(text: str) -> Any:
    """The value of `--set key=TEXT`, read as YAML reads it; ValueError where it is not YAML."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ValueError(f"the value {text!r} is not valid YAML") from None


def _open(path: Path) -> _Loader:
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"not UTF-8 text (byte {error.start})", where=str(path), remedy="save it as UTF-8") from None
    except IsADirectoryError:
        raise RecipeError(
            "is a folder, a recipe is a file", where=str(path), remedy="name a .yaml file in it"
        ) from None
    except OSError as error:
        raise RecipeError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            remedy="name an existing recipe, for example recipes/quickstart.yaml",
        ) from None
    try:
        return _Loader(text)
    except yaml.YAMLError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: yaml.YAMLError) -> RecipeError:
    """For characters that YAML forbids, which have no line."""
    first = str(error).splitlines()[0]
    return RecipeError(f"not valid YAML: {first}", where=str(path), remedy="save it as plain UTF-8 text")


def _construct(loader: _Loader, node: yaml.Node, key: Key, document: Document, path: Path, count: list[int]) -> Any:
    count[0] += 1
    if count[0] > MAX_NODES:
        raise RecipeError(f"more than {MAX_NODES} values", where=str(path), remedy="anchors must not repeat anchors")
    if isinstance(node, yaml.CollectionNode) and node.tag not in PLAIN:
        raise RecipeError(
            f"the tag {node.tag} is not allowed",
            where=f"{path}:{node.start_mark.line + 1}",
            remedy="write plain keys, lists and values",
        )
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            name, line = loader.construct_object(key_node), key_node.start_mark.line + 1
            if not isinstance(name, str):
                raise RecipeError(
                    f"a key must be text, found {name!r}",
                    where=f"{path}:{line}",
                    remedy=f"write it in quotes: '{name}'",
                )
            if name in result:
                raise RecipeError(f"the key '{name}' is given twice", where=f"{path}:{line}", remedy="keep one of them")
            document.places[(*key, name)] = f"{path}:{line}"
            result[name] = _construct(loader, value_node, (*key, name), document, path, count)
        return result
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, child in enumerate(node.value):
            document.places[(*key, index)] = f"{path}:{child.start_mark.line + 1}"
            items.append(_construct(loader, child, (*key, index), document, path, count))
        return items
    try:
        return loader.construct_object(node)
    except ValueError as error:  # a day 32, an integer of 5,000 digits
        raise RecipeError(
            f"'{str(node.value)[:40]}' is no value ({error})",
            where=f"{path}:{node.start_mark.line + 1}",
            remedy="put it in quotes if it is text",
        ) from None
