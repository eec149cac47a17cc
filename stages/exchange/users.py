"""Who the numbers of a tool's users are: Label Studio's /api/users/, Argilla's /api/v1/users, or {"1": "ann"}."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.exchange.returned import name_of, read_json

NAMES = ("email", "username", "first_name")  # the first that is filled in names the person


def read_users(path: Path) -> Mapping[str, str]:
    """User id -> name, for `ReadOptions.users`; DataError where the file is something else."""
    value = read_json(path)
    if isinstance(value, dict):
        value = next((value[key] for key in ("items", "results") if isinstance(value.get(key), list)), value)
    if isinstance(value, dict):
        users = {str(number): name_of(name) for number, name in value.items()}
    else:
        people = value if isinstance(value, list) else [None]
        users = dict(_user(person, f"{path}:user {place}") for place, person in enumerate(people, start=1))
    if not users:
        raise DataError("names nobody", where=str(path), remedy='write {"a user id or a spelling": "the name"}')
    for number, name in users.items():
        if name is None:
            raise DataError(f"user {number} has no name", where=str(path), remedy='write {"' + number + '": "name"}')
    return {number: name for number, name in users.items() if name is not None}


def _user(person: Any, where: str) -> tuple[str, str | None]:
    number = name_of(person.get("id")) if isinstance(person, dict) else None
    if number is None:
        raise DataError(
            "is no user with an id",
            where=where,
            remedy="give what the tool answers to GET /api/users/ (Label Studio) or /api/v1/users (Argilla)",
        )
    return number, next((name for key in NAMES if (name := name_of(person.get(key)))), None)
