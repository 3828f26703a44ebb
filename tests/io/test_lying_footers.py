"""Footers that lie about rows: no row that nobody has written is read, and none is left out."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fuzzing.data_files import varint
from support.helpers import FEATURES, customers, loaded, opened

from gpuseg.errors import DataError

ROWS = 99


def write_lie(path: Path, rows: int, which: str) -> None:
    """Write a file of one row group; replace its counts of rows in the footer."""
    pq.write_table(customers(ROWS), path, write_statistics=False, store_schema=False)
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    footer, truth, lie = content[start:-8], varint(ROWS), varint(rows)
    places = [i for i in range(len(footer)) if footer[i : i + len(truth)] == truth]
    if which == "rows of the file":
        places = places[:1]
    elif which == "rows of the row group":
        places = places[-1:]
    for i in reversed(places):
        footer = footer[:i] + lie + footer[i + len(truth) :]
    path.write_bytes(content[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


@pytest.mark.parametrize("which", ["rows of the file", "rows of the row group", "all"])
@pytest.mark.parametrize("rows", [100, 98, 8000, 2**24, 2**50, -1])
def test_a_lie_is_refused(tmp_path: Path, rows: int, which: str) -> None:
    write_lie(tmp_path / "in.parquet", rows, which)
    with pytest.raises(DataError) as caught:
        loaded(opened(tmp_path / "in.parquet", *FEATURES))
    assert caught.value.code.startswith("file.") and "in.parquet" in str(caught.value)
