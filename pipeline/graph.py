"""Stages as a graph: each input and each data source names what it comes from; file order means nothing.

An edge leads from a stage to the one that reads its artifact, or the rows that it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from pipeline.contract import ROWS, DataSource, Input, StageConfig
from pipeline.errors import RecipeError, nearest
from pipeline.yaml_lines import Document

Sources = Mapping[str, DataSource]


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe, resolved: every input named, every default filled in."""

    name: str
    kind: str
    config: StageConfig
    inputs: Mapping[str, tuple[str, ...]]  # config field -> "base" or stage names
    data: Mapping[str, tuple[str, ...]]  # config field -> data source names
    rows_from: frozenset[str] = frozenset()  # the stages that write those sources' rows

    @property
    def needs(self) -> set[str]:
        """The stages that must be finished before this one."""
        return ({name for names in self.inputs.values() for name in names} | self.rows_from) - {"base"}


def input_fields(config: type[StageConfig]) -> Iterator[tuple[str, Input]]:
    """The fields of a stage's config that name artifacts or data, with what they say of themselves."""
    for name, info in config.model_fields.items():
        for mark in info.metadata:
            if isinstance(mark, Input):
                yield name, mark


def connect(document: Document, configs: Mapping[str, tuple[str, StageConfig]], sources: Sources) -> dict[str, Stage]:
    """The stages with their edges, in an order in which they can run; `configs` are kind and config by name.

    RecipeError for a name that is not known, or does not give what it is named for, and for a ring.
    """
    by_name = {name: config for name, (_, config) in configs.items()}
    _check_origins(document, by_name, sources)
    stages = {}
    for name, (kind, config) in configs.items():
        filled = _with_defaults(document, name, config, by_name)
        inputs, data = _named(filled)
        for field, names in data.items():
            _check_data(document, (name, field), names, sources, given=getattr(filled, field) is not None)
        for field, mark in input_fields(type(filled)):
            if mark.role:
                _check_makers(document, (name, field), inputs[field], mark, by_name)
        read = (sources[source].from_stage for names in data.values() for source in names)
        stages[name] = Stage(name, kind, filled, inputs, data, frozenset(stage for stage in read if stage))
    return {name: stages[name] for name in _order(document, stages)}


def _check_origins(document: Document, configs: Mapping[str, StageConfig], sources: Sources) -> None:
    """A source's `from` names a stage that writes rows."""
    makers = [name for name, config in configs.items() if type(config).produces in ROWS]
    for name, source in sources.items():
        given = source.from_stage
        if given is not None and given not in makers:
            known = given in configs
            raise RecipeError(
                f"'{given}' writes no rows" if known else f"there is no stage '{given}'",
                where=document.where(("data", name, "from")),
                remedy=nearest(given, makers) if makers else "add a stage that writes rows, for example `sample`",
            )


def _with_defaults(
    document: Document, stage: str, config: StageConfig, configs: Mapping[str, StageConfig]
) -> StageConfig:
    """Write each input left out as the name it defaults to, so that the resolved recipe shows it."""
    filled = {}
    for name, mark in input_fields(type(config)):
        if getattr(config, name) is not None or mark.default is None:
            continue
        if mark.default != "only":
            filled[name] = getattr(config, mark.default)
            continue
        makers = [other for other, made in configs.items() if type(made).produces == mark.role and other != stage]
        if len(makers) > 1:
            raise RecipeError(
                f"'{name}' is left out, and several stages could be meant: {', '.join(makers)}",
                where=document.where(("stages", stage)),
                remedy=f"write {name}: {makers[0]}",
            )
        if mark.required and not makers:
            raise RecipeError(
                f"'{name}' is left out, and no stage gives a {mark.role}",
                where=document.where(("stages", stage)),
                remedy=f"add a stage that does, for example {'rm' if mark.role == 'reward' else 'sft'}",
            )
        filled[name] = makers[0] if makers else None
    return config.model_copy(update=filled)


def _named(config: StageConfig) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """What each input field names: artifacts, and data sources."""
    inputs: dict[str, tuple[str, ...]] = {}
    data: dict[str, tuple[str, ...]] = {}
    for name, mark in input_fields(type(config)):
        value = getattr(config, name)
        names = () if value is None else (value,) if isinstance(value, str) else tuple(value)
        (inputs if mark.role else data)[name] = names
    return inputs, data


def _check_data(
    document: Document, field: tuple[str, str], names: Sequence[str], sources: Sources, *, given: bool
) -> None:
    place = document.where(("stages", *field))
    if given and not names:
        raise RecipeError(f"'{field[1]}' names no data source", where=place, remedy=nearest("", sources))
    for name in names:
        if name not in sources:
            raise RecipeError(f"there is no data source '{name}'", where=place, remedy=nearest(name, sources))


def _check_makers(
    document: Document, field: tuple[str, str], names: Sequence[str], mark: Input, configs: Mapping[str, StageConfig]
) -> None:
    makers = {name for name, config in configs.items() if type(config).produces == mark.role}
    allowed = makers | {"base"} if mark.role == "policy" else makers
    for given in names:
        if given not in allowed:
            found = f"'{given}' gives no {mark.role}" if given in configs else f"there is no stage '{given}'"
            raise RecipeError(found, where=document.where(("stages", *field)), remedy=nearest(given, allowed))


def _order(document: Document, stages: Mapping[str, Stage]) -> list[str]:
    try:
        return list(TopologicalSorter({s.name: sorted(s.needs) for s in stages.values()}).static_order())
    except CycleError as error:
        ring = error.args[1]
        raise RecipeError(
            "stages wait for each other: " + " -> ".join(ring),
            where=document.where(("stages", ring[0])),
            remedy="let one of them start from 'base' or another stage, or read other data",
        ) from None
