"""What came from what, as a drawing: data, base and artifacts in columns, from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.report.folder import Run
from pipeline.report.text import mapping, plain, visible

WIDTH, HEIGHT, ACROSS, DOWN, EDGE = 152, 44, 62, 16, 2
LONGEST = 20  # characters of a name
Key = tuple[str, str]  # "data", "base" or "stage", and a name


@dataclass(frozen=True)
class Node:
    """A box of the drawing."""

    name: str
    kind: str  # data, base or stage: its class in the style sheet
    digest: str
    sources: tuple[Key, ...]


def lineage(run: Run) -> Markup:
    """The drawing as inline SVG; empty while no stage has recorded what it is made from."""
    nodes = _nodes(run)
    if not any(node.sources for node in nodes.values()):
        return Markup()
    places = _places(nodes, _columns(nodes))
    width, height = (max(at[axis] for at in places.values()) for axis in (0, 1))
    told = "; ".join(
        f"{key[1]} from {', '.join(name for _, name in node.sources)}" for key, node in nodes.items() if node.sources
    )
    head = Markup(
        '<svg class="lineage" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">'
        "<title>What was made from what</title><desc>{2}</desc>"
    ).format(width + WIDTH + EDGE, height + HEIGHT + EDGE, visible(told))
    edges = [_edge(places[source], places[key]) for key, node in nodes.items() for source in node.sources]
    return Markup("").join([head, *edges, *(_box(nodes[key], at) for key, at in places.items()), Markup("</svg>")])


def _nodes(run: Run) -> dict[Key, Node]:
    """Stages with their sources, and each source that is not a stage itself."""
    names, sources = {stage.name for stage in run.stages}, mapping(run.recipe.get("data"))
    nodes: dict[Key, Node] = {}
    for stage in run.stages:
        if not stage.made_from.inputs and not stage.made_from.data:
            continue
        inputs = [("stage" if one.name in names else "base", one.name) for one in stage.made_from.inputs]
        for one in stage.made_from.data:
            stage_of_rows = plain(mapping(sources.get(one.name)).get("from"))
            origin = (("stage", stage_of_rows),) if stage_of_rows in names else ()
            nodes.setdefault(("data", one.name), Node(one.name, "data", one.digest, origin))
        for kind, name in inputs:
            if kind == "base":
                nodes.setdefault((kind, name), Node(name, kind, "", ()))
        keys = dict.fromkeys([*inputs, *(("data", one.name) for one in stage.made_from.data)])
        digest = plain(stage.record.get("digest"))
        nodes["stage", stage.name] = Node(stage.name, "stage", digest, tuple(keys))
    # A source that is no node has not started, or is gone from the recipe.
    return {
        key: Node(node.name, node.kind, node.digest, tuple(source for source in node.sources if source in nodes))
        for key, node in nodes.items()
    }


def _columns(nodes: Mapping[Key, Node]) -> dict[Key, int]:
    """A stage stands one column right of the last of its sources, data one column left of their first reader."""
    columns = dict.fromkeys(nodes, 0)
    for _ in nodes:  # the longest way through the graph is shorter; one that goes in circles, in a damaged file, ends
        for key, node in nodes.items():
            columns[key] = max((columns[source] + 1 for source in node.sources), default=0)
    for key, node in nodes.items():
        readers = [columns[other] for other, found in nodes.items() if key in found.sources]
        if not node.sources and readers:
            columns[key] = max(0, min(readers) - 1)
    return columns


def _places(nodes: Mapping[Key, Node], columns: Mapping[Key, int]) -> dict[Key, tuple[int, int]]:
    """Left top corners; in a column, boxes follow the mean height of their sources, so that fewer lines cross."""
    places: dict[Key, tuple[int, int]] = {}
    for column in sorted(set(columns.values())):
        here = [key for key in nodes if columns[key] == column]
        order = {key: _mean_height(nodes[key].sources, places) for key in here}
        for row, key in enumerate(sorted(here, key=lambda key: order[key])):
            places[key] = EDGE + column * (WIDTH + ACROSS), EDGE + row * (HEIGHT + DOWN)
    return places


def _mean_height(sources: Sequence[Key], places: Mapping[Key, tuple[int, int]]) -> float:
    known = [places[source][1] for source in sources if source in places]
    return sum(known) / len(known) if known else float("inf")


def _edge(start: tuple[int, int], end: tuple[int, int]) -> Markup:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT / 2, end[0], end[1] + HEIGHT / 2
    bend = ACROSS * 0.6
    return Markup(f'<path class="edge" d="M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"/>')


def _box(node: Node, at: tuple[int, int]) -> Markup:
    name = visible(node.name)
    name = name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
    below = node.digest[:12] if node.digest else "the base model" if node.kind == "base" else "not finished"
    return Markup(
        '<g class="{}"><title>{}</title><rect x="{}" y="{}" width="{}" height="{}" rx="{}"/>'
        '<text class="what" x="{}" y="{}">{}</text><text class="digest" x="{}" y="{}">{}</text></g>'
    ).format(
        node.kind, visible(f"{node.name} {node.digest}".strip()), *at, WIDTH, HEIGHT, 6 if node.kind == "stage" else 22,
        at[0] + 14, at[1] + 18, name, at[0] + 14, at[1] + 34, visible(below),
    )  # fmt: skip
