"""Write folders of synthetic data: blocks of rows, each from its own random stream, as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import ConfigError, ResourceError

BLOCK_ROWS = 65_536
_ROW_GROUP_ROWS = 131_072


def write_blocks(
    folder: Path,
    stem: str,
    block: Callable[[int], pa.Table],
    rows: int,
    files: int,
    overwrite: bool,
    repeating: Sequence[str],
    report: Callable[[int], None] | None,
) -> list[Path]:
    """Write the first rows of the blocks to files ``stem-00000.parquet``, ... of nearly equal size.

    The files get their names together when all are complete: a run that fails leaves the folder
    unchanged.

    Parameters
    ----------
    block : callable
        Takes the number of a block; returns its `BLOCK_ROWS` rows.
    repeating : names of columns whose values repeat

    Raises
    ------
    ConfigError
        If the folder has files that may not be replaced.
    ResourceError
        If the files cannot be written: no space, no permission.
    """
    finished = [folder / f"{stem}-{i:05d}.parquet" for i in range(files)]
    unfinished = [path.with_name(f".{path.name}.tmp") for path in finished]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replaced = _replaceable(folder, stem, overwrite)
        try:
            _write(block, rows, unfinished, repeating, report or (lambda _: None))
            for path in set(replaced).difference(unfinished):
                path.unlink()
            for source, target in zip(unfinished, finished, strict=True):
                source.replace(target)
        finally:
            for path in unfinished:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise ResourceError(
            "synthetic.not_writable",
            f"{folder}: the {stem} could not be written: {error}",
            hint="free some space there, or choose a directory that you may write to",
        ) from error
    return finished


def _replaceable(folder: Path, stem: str, overwrite: bool) -> list[Path]:
    """Return the files of the folder; all of them may be replaced."""
    existing = sorted(folder.iterdir())
    if existing and not overwrite:
        raise ConfigError(
            "synthetic.exists",
            f"{folder}: the directory is not empty (it has {existing[0].name})",
            hint=f"choose another directory, or pass --overwrite to replace the {stem} in it",
        )
    for path in existing:
        # A killed run leaves its temporary files.
        replaceable = path.match(f"{stem}-*.parquet") or path.match(f".{stem}-*.parquet.tmp")
        if not (replaceable and path.is_file()):
            raise ConfigError(
                "synthetic.other_file",
                f"{folder} has {path.name}, and --overwrite replaces only files {stem}-*.parquet",
                hint="choose another directory, or move the file away",
            )
    return existing


def _write(
    block: Callable[[int], pa.Table],
    rows: int,
    paths: list[Path],
    repeating: Sequence[str],
    report: Callable[[int], None],
) -> None:
    """Write the first rows of the blocks to the paths, as runs of nearly equal length."""
    # Row groups follow each other, so the only block to be needed twice is the last one.
    block = lru_cache(maxsize=1)(block)
    schema = block(0).schema
    bounds = [rows * i // len(paths) for i in range(len(paths) + 1)]
    for path, first, last in zip(paths, bounds[:-1], bounds[1:], strict=True):
        with pq.ParquetWriter(
            path,
            schema,
            compression="snappy",
            write_page_checksum=True,
            # Hardly two floats are the same: a dictionary of them costs time and gains no space.
            use_dictionary=[name for name in schema.names if name in repeating],
        ) as writer:
            for start in range(first, last, _ROW_GROUP_ROWS):
                stop = min(start + _ROW_GROUP_ROWS, last)
                group = pa.concat_tables(_slices(block, start, stop))
                writer.write_table(group, row_group_size=_ROW_GROUP_ROWS)
                report(stop - start)


def _slices(block: Callable[[int], pa.Table], start: int, stop: int) -> Iterator[pa.Table]:
    """Yield the rows start ... stop − 1 of the stream, block by block."""
    for index in range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS)):
        first = index * BLOCK_ROWS
        yield block(index)[max(start - first, 0) : stop - first]


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random stream of a seed and a key."""
    # Not SeedSequence([seed, *key]): that takes [5], [5, 0] and [5, 0, 0] for the same.
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=key)))
