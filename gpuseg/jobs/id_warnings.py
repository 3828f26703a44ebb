"""Warnings about ids: none are named, or they are e-mail addresses or telephone numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from gpuseg.arrow import is_text
from gpuseg.io.parquet.dataset import Dataset, first_values
from gpuseg.io.parquet.index_columns import is_unnamed_index
from gpuseg.io.privacy.pii import contact, personal
from gpuseg.jobs.duplicates import is_named_like_an_id
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.run_sections import RunSections

if TYPE_CHECKING:
    from gpuseg.features.transaction_files import Source


def warning_of_no_id(spec: JobSpec, dataset: Dataset) -> str | None:
    """Return the warning that the output will have no ids, or None.

    There is none where the job sets the id to None on purpose, or clusters a column that is named
    like an id, of which another warning speaks.
    """
    if spec.input is None or "id" in spec.input.model_fields_set:
        return None
    if spec.input.features is None and any(map(is_named_like_an_id, dataset.features)):
        return None
    missing = "input.id is not set, so the output has no ids"
    if candidate := _likely_id(dataset, spec.audit.columns):
        return f"{missing}; if '{candidate}' has them, set input.id = '{candidate}'"
    dropped = ", without those that were dropped" if spec.prepare.missing == "drop" else ""
    return f"{missing}; its rows are in the order of the input{dropped}"


def _likely_id(dataset: Dataset, audited: Sequence[str]) -> str | None:
    """Return the one column that is evidently the id, or None.

    It has text or integers, and is used for nothing else. It is named like an id, or is the named
    index of a pandas frame, or the only such column, or an index without a name. Its first values
    differ.
    """
    file, used = dataset.files[0], {*dataset.features, dataset.weight, *audited}
    unused = [
        name
        for name, kind in file.types.items()
        if name not in used and (pa.types.is_integer(kind) or is_text(kind)) and not personal(name)
    ]
    named = [name for name in unused if not is_unnamed_index(name)]
    choices = (
        [name for name in named if is_named_like_an_id(name)],
        [name for name in named if name in file.index_columns],
        named,
        [name for name in unused if name not in named],
    )
    candidate = next((names[0] for names in choices if len(names) == 1), None)
    return candidate if candidate is not None and _are_distinct(dataset, candidate) else None


def _are_distinct(dataset: Dataset, name: str) -> bool:
    first = first_values(dataset, name)
    values = [] if first is None else first.to_pylist()
    return len(set(values)) == len(values)


def warning_of_personal_ids(sections: RunSections, dataset: Dataset) -> str | None:
    """Return the warning that the ids of a table are personal data, or None."""
    if sections.transactions is not None or dataset.id is None or dataset.id_key is not None:
        return None
    values = first_values(dataset, dataset.id)
    return _written_as_they_are("input", "id", dataset.id, values)


def warning_of_personal_customers(source: Source) -> str | None:
    """Return the warning that the ids of customers in lines are personal data, or None."""
    name = source.roles.customer
    if source.roles.id_key is not None:
        return None
    return _written_as_they_are("transactions", "customer", name, source.first_customers())


def _written_as_they_are(section: str, key: str, name: str, values: pa.Array | None) -> str | None:
    kind = None if values is None else contact(name, values)
    if kind is None:
        return None
    return (
        f"{section}.{key} = '{name}' looks like {kind}, and the output has its values as they are; "
        f"set {section}.id_hash_key_env to write hashes in their place"
    )
