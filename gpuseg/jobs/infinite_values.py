"""Infinite values in text files of a job: the message says how the files write them.

The keys that it advises read the files: text that is missing now stays missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from gpuseg import arrow_compute as pc
from gpuseg.errors import DataError, section_names, set_keys
from gpuseg.io.null_values import NULL_VALUES
from gpuseg.io.text_files.column_types import ColumnType, TextValues, converted
from gpuseg.io.text_files.convert import ConvertedFiles
from gpuseg.io.text_files.files import text_file
from gpuseg.jobs.job import JobSpec
from gpuseg.jobs.schema import InputSpec, JoinSpec, TransactionsSpec
from gpuseg.jobs.text_inputs import TextInput
from gpuseg.preprocessing.missing_values import FILL_OR_DROP

_MOST_TEXTS = 5
"""Texts of infinite values that a message names."""


@contextmanager
def showing_text(
    spec: JobSpec, texts: Sequence[TextInput], features: Sequence[str]
) -> Iterator[None]:
    """Let the error of an infinite feature name the keys that make its text missing.

    Parameters
    ----------
    texts : sequence of TextInput
        Of the job.
    features : sequence of str
        The columns that are clustered.
    """
    try:
        yield
    except DataError as error:
        if error.code == "feature.infinite":
            for text in texts:
                files = text.converted
                if files is not None and (hint := _hint(spec, text, files, features)):
                    error.hint = hint
                    given = _section(spec, text).model_fields_set
                    names = section_names(text.section, given=given)
                    error.names = {**names, **error.names}
                    break
        raise


def _hint(spec: JobSpec, text: TextInput, files: ConvertedFiles, features: Sequence[str]) -> str:
    """Return the keys for the infinite values of a section; empty if it has none."""
    null_values = tuple(_section(spec, text).null_values)
    infinite, missing = _infinite_and_missing(files, null_values, features)
    if not infinite:
        return ""
    kept = [word for word in null_values if null_values != NULL_VALUES or word in missing]
    words = ", ".join(json.dumps(word, ensure_ascii=False) for word in (*kept, *infinite))
    keys = set_keys(f"null_values = [{words}]")
    fill = f"; and {FILL_OR_DROP}"
    return f"fix the data, or {keys}{fill * (spec.prepare.missing == 'error')}"


def _section(spec: JobSpec, text: TextInput) -> InputSpec | TransactionsSpec | JoinSpec:
    """Return the section of the job that has the files."""
    joins = {f"join[{i}]": join for i, join in enumerate(spec.join)}
    return joins.get(text.section) or spec.source


def _infinite_and_missing(
    files: ConvertedFiles, null_values: tuple[str, ...], features: Sequence[str]
) -> tuple[list[str], set[str]]:
    """Return the first texts of infinite values, and the texts that are missing values."""
    infinite: dict[str, None] = {}
    missing: set[str] = set()
    values, words = TextValues(null_values), pa.array(null_values, pa.string())
    kind = ColumnType(pa.float64(), files.numbers)
    for (name, format), (path, version) in zip(files.formats, files.versions, strict=True):
        root = files.storage.root
        is_root = path == files.source.root
        with files.storage.open_parquet(root if is_root else f"{root}/{name}") as parquet:
            types = {field.name: field.type for field in parquet.schema_arrow}
        for batch in text_file(files.source, path, version, format).text_batches(list(types)):
            for column in batch.schema.names:
                texts = pc.unique(pc.utf8_trim_whitespace(batch.column(column)))
                missing.update(words.filter(pc.is_in(words, value_set=texts)).to_pylist())
                if column in features and pa.types.is_float64(types[column]):
                    numbers = converted(texts, kind, values)
                    rows = pc.is_inf(numbers)
                    infinite.update(dict.fromkeys(texts.filter(rows).drop_null().to_pylist()))
    return list(infinite)[:_MOST_TEXTS], missing
