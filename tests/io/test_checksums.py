"""Pages of Parquet files: sound as they were written, and not once a byte is another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpuseg.io.parquet.checksums import _read_struct, are_sound

WAYS: dict[str, dict[str, Any]] = {
    "as Arrow does": {},
    "second version": {"data_page_version": "2.0", "version": "2.6"},
    "no dictionary, zstd": {"use_dictionary": False, "compression": "zstd"},
    "not compressed": {"compression": "none", "column_encoding": "PLAIN", "use_dictionary": False},
    "split bytes": {"use_byte_stream_split": True, "use_dictionary": False},
    "an index of the pages": {"write_page_index": True},
    "no statistics": {"write_statistics": False},
}


def table(rows: int = 4000) -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table({
        "a": pa.array(rng.normal(size=rows).astype(np.float32), mask=rng.random(rows) < 0.1),
        "b": rng.integers(0, 30, rows).astype(np.float64),
        "c": -rng.integers(1, 2**40, rows).astype(np.float64),
    })  # fmt: skip


def written(folder: Path, checked: bool, **options: Any) -> Path:
    pq.write_table(
        table(), folder / "in.parquet", row_group_size=1500, data_page_size=1000,
        write_page_checksum=checked, **{"write_batch_size": 100, **options},
    )  # fmt: skip
    return folder / "in.parquet"


def chunks(path: Path) -> list[pq.ColumnChunkMetaData]:
    metadata = pq.read_metadata(path)
    return [
        metadata.row_group(g).column(i)
        for g in range(metadata.num_row_groups)
        for i in range(metadata.num_columns)
    ]


def span(chunk: pq.ColumnChunkMetaData) -> range:
    starts = [chunk.data_page_offset]
    starts += [chunk.dictionary_page_offset] if chunk.has_dictionary_page else []
    return range(min(starts), min(starts) + chunk.total_compressed_size)


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_whole_files_are_sound(tmp_path: Path, way: str, checked: bool) -> None:
    path = written(tmp_path, checked, **WAYS[way])
    assert are_sound(str(path), chunks(path))


@pytest.mark.parametrize("options", [
    "COMPRESSION snappy", "COMPRESSION uncompressed", "COMPRESSION zstd, PARQUET_VERSION V2",
])  # fmt: skip
def test_files_of_duckdb_are_sound(tmp_path: Path, options: str) -> None:
    path, item = tmp_path / "in.parquet", duckdb.connect()
    item.register("rows", table(20_000))
    item.sql(f"COPY (SELECT * FROM rows) TO '{path}' (FORMAT parquet, {options})")
    assert are_sound(str(path), chunks(path))


@pytest.mark.parametrize("compression", ["snappy", "uncompressed", "zstd"])
def test_files_of_polars_are_sound(tmp_path: Path, compression: Any) -> None:
    path = tmp_path / "in.parquet"
    frame = polars.from_arrow(table(20_000))
    assert isinstance(frame, polars.DataFrame)
    frame.write_parquet(path, compression=compression, row_group_size=7000)
    assert are_sound(str(path), chunks(path))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_what_arrow_refuses_is_not_sound(tmp_path: Path, way: str) -> None:
    """A byte is changed in a page, or in its header: some of the first two thousand, in turn."""
    path = written(tmp_path, True, **WAYS[way])
    content, chunk = path.read_bytes(), chunks(path)[4]
    places, refused = list(span(chunk))[:2000:11], 0
    for at in places:
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                file.read_row_group(1, columns=["b"])
        except (pa.ArrowException, OSError):
            refused += 1
            assert not are_sound(str(path), [chunk]), at
    assert refused > 0.8 * len(places)
    assert are_sound(str(path), chunks(path)[:4])


def test_damaged_headers_are_not_sound_without_checksums(tmp_path: Path) -> None:
    path = written(tmp_path, False)
    content, chunk = path.read_bytes(), chunks(path)[0]
    start = span(chunk)[0]
    for spoiled in (b"\x1c" * 2000, b"\xff" * 2000, b"\0", b"\x15\0\x15\2\x15\xff\xff\xff\x7f\0"):
        path.write_bytes(content[:start] + spoiled + content[start + len(spoiled) :])
        assert not are_sound(str(path), [chunk])


def test_header_of_all_kinds_of_fields() -> None:
    """Numbers, a truth, a byte, a double, text and a struct; the last field is far off."""
    header = bytes([
        *(0x15, 0x04), *(0x16, 0x03), 0x11, *(0x13, 0xEE), *(0x17, *range(8)),
        *(0x18, 0x02, 0x61, 0x62), *(0x1C, 0x15, 0x02, 0x15, 0x01, 0x00),
        *(0x05, 0xC8, 0x01, 0x80, 0x01), 0x00,
    ])  # fmt: skip
    numbers: dict[int, int] = {}
    assert _read_struct(header + b"rest", 0, numbers) == len(header)
    assert numbers == {1: 2, 701: 1, 702: -1, 100: 64}
