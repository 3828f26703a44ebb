"""The next step for a key that its section does not have: the section that has it, or its name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gpuseg.errors import literal
from gpuseg.validation import branches_of, nearest, nearest_known


@dataclass(frozen=True)
class _Table:
    """A section of a job, or what it is with one algorithm.

    Attributes
    ----------
    section : str
    is_list : bool
        Whether a job may have several of them.
    algorithm : str or None
        None if the section has the same keys with all algorithms.
    keys : tuple of str
    """

    section: str
    is_list: bool
    algorithm: str | None
    keys: tuple[str, ...]

    @property
    def title(self) -> str:
        """The section as the job file has it."""
        return f"[[{self.section}]]" if self.is_list else f"[{self.section}]"


def unknown_key_step(
    path: Sequence[str], keys: Iterable[str], model: type[BaseModel], values: Mapping[str, Any]
) -> str:
    """Return the hint for an unknown key.

    Parameters
    ----------
    path : sequence of str
        The key, after the names of its section and tables.
    keys : iterable of str
        The keys that exist at its place.
    model : type
        The schema of the job.
    values : mapping
        The job.
    """
    *place, name = path
    known, tables = list(keys), list(_tables(model))
    section = place[0].partition("[")[0] if place else None
    if homes := _with_key(name, tables, values):
        is_here = any(table.section == section for table in homes)
        step = nearest_known(name, known) if is_here else _move(homes, values)
        return literal(f"{name} is a key of {_listed(homes)}; ") + step
    meant = nearest(name, (key for table in tables for key in table.keys))
    if meant is not None and nearest(name, known) is None:
        homes = _with_key(meant, tables, values)
        return literal(f"did you mean {meant!r}, which is a key of {_listed(homes)}?")
    return nearest_known(name, known)


def _tables(model: type[BaseModel]) -> Iterator[_Table]:
    for section, field in model.model_fields.items():
        branches = branches_of(field.annotation)
        for algorithm, table in branches.items():
            is_list = "list[" in str(field.annotation)
            yield _Table(section, is_list, algorithm, tuple(table.model_fields))


def _with_key(key: str, tables: Sequence[_Table], values: Mapping[str, Any]) -> list[_Table]:
    """Return the tables that have a key: those of sections that are in the job, or all."""
    homes = [table for table in tables if key in table.keys]
    return [table for table in homes if table.section in values] or homes


def _move(homes: Sequence[_Table], values: Mapping[str, Any]) -> str:
    """Return the step to move a key to one of its sections."""
    titles = list(dict.fromkeys(table.title for table in homes))
    if any(table.section in values for table in homes):
        return "move it there"
    section = f"a section {titles[0]}" if len(titles) == 1 else "one of these sections"
    return f"add {section}, and move the key there"


def _listed(tables: Sequence[_Table]) -> str:
    titles: dict[str, list[str]] = {}
    for table in tables:
        titles.setdefault(table.title, []).extend(
            [f'"{table.algorithm}"'] if table.algorithm is not None else []
        )
    return " or ".join(
        f"{title} with algorithm = {' or '.join(algorithms)}" if algorithms else title
        for title, algorithms in titles.items()
    )
