"""What came from what, as a drawing: data, base and artifacts in rows, each under what it was made from.

A line that passes a row passes it in a gap of its own, which all lines from one box share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from pipeline.report.folder import Run
from pipeline.report.text import mapping, plain, visible

WIDTH, HEIGHT, ACROSS, DOWN, EDGE, LANE = 146, 44, 18, 40, 2, 10
LONGEST = 20  # characters of a name
Key = tuple[str, str]  # "data", "base" or "stage", or "lane" and a row's number; and a name


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
    rows = _rows(nodes)
    ways = [way for key, node in nodes.items() for source in node.sources for way in _ways(source, key, rows)]
    places = _places(nodes, rows, ways)
    width, height = (max(at[axis] for at in places.values()) for axis in (0, 1))
    told = "; ".join(
        f"{key[1]} from {', '.join(name for _, name in node.sources)}" for key, node in nodes.items() if node.sources
    )
    head = Markup(
        '<svg class="lineage" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img">'
        "<title>What was made from what</title><desc>{2}</desc>"
    ).format(width + WIDTH + EDGE, height + HEIGHT + EDGE, visible(told))
    edges = [_edge(start, end, places) for start, end in dict.fromkeys(ways)]
    lanes = [_lane(places[key]) for key in places if key not in nodes]
    boxes = [_box(nodes[key], at) for key, at in places.items() if key in nodes]
    return Markup("").join([head, *edges, *lanes, *boxes, Markup("</svg>")])


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


def _rows(nodes: Mapping[Key, Node]) -> dict[Key, int]:
    """A stage stands one row under the last of its sources, data one row over their first reader."""
    rows = dict.fromkeys(nodes, 0)
    for _ in nodes:  # the longest way through the graph is shorter; one that goes in circles, in a damaged file, ends
        for key, node in nodes.items():
            rows[key] = max((rows[source] + 1 for source in node.sources), default=0)
    for key, node in nodes.items():
        readers = [rows[other] for other, found in nodes.items() if key in found.sources]
        if not node.sources and readers:
            rows[key] = max(0, min(readers) - 1)
    return rows


def _ways(source: Key, key: Key, rows: Mapping[Key, int]) -> list[tuple[Key, Key]]:
    """The pieces of one line: from box to lane to lane to box."""
    name = "/".join(source)
    stops = [source, *((f"lane {row}", name) for row in range(rows[source] + 1, rows[key])), key]
    return list(pairwise(stops))


def _places(
    nodes: Mapping[Key, Node], rows: Mapping[Key, int], ways: Sequence[tuple[Key, Key]]
) -> dict[Key, tuple[int, int]]:
    """Left top corners; in a row, boxes and lanes follow the mean place of what leads to them: fewer lines cross."""
    lanes = dict.fromkeys(key for way in ways for key in way if key not in nodes)
    row_of = {**rows, **{key: int(key[0].removeprefix("lane ")) for key in lanes}}
    leads: dict[Key, list[Key]] = {}
    for start, end in dict.fromkeys(ways):
        leads.setdefault(end, []).append(start)
    places: dict[Key, tuple[int, int]] = {}
    for row in sorted(set(row_of.values())):
        here = [key for key in row_of if row_of[key] == row]
        order = {key: _mean_place(leads.get(key, ()), places) for key in here}
        x = EDGE
        for key in sorted(here, key=lambda key: order[key]):
            places[key] = x, EDGE + row * (HEIGHT + DOWN)
            x += (WIDTH if key in nodes else LANE) + ACROSS
    return places


def _mean_place(sources: Sequence[Key], places: Mapping[Key, tuple[int, int]]) -> float:
    known = [_middle(source, places) for source in sources if source in places]
    return sum(known) / len(known) if known else float("inf")


def _middle(key: Key, places: Mapping[Key, tuple[int, int]]) -> float:
    return places[key][0] + (LANE if key[0].startswith("lane ") else WIDTH) / 2


def _edge(start: Key, end: Key, places: Mapping[Key, tuple[int, int]]) -> Markup:
    x1, y1, x2, y2 = _middle(start, places), places[start][1] + HEIGHT, _middle(end, places), places[end][1]
    bend = DOWN * 0.6
    return Markup(f'<path class="edge" d="M{x1} {y1} C{x1} {y1 + bend} {x2} {y2 - bend} {x2} {y2}"/>')


def _lane(at: tuple[int, int]) -> Markup:
    return Markup(f'<path class="edge" d="M{at[0] + LANE / 2} {at[1]} V{at[1] + HEIGHT}"/>')


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
