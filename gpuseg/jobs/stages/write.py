"""Each worker writes its own parts; then ids are looked through for repetition."""

from collections.abc import Sequence
from functools import partial

from gpuseg.errors import ResourceError
from gpuseg.io.output.assignments import Part, write_parts
from gpuseg.io.output.base import Staging
from gpuseg.io.parquet.dataset import Dataset
from gpuseg.io.parquet.ids import count_duplicates, split_ids
from gpuseg.progress import Progress
from gpuseg.runtime.executor import Executor
from gpuseg.segmentation.base import Warn

_ID_PIECES = 4
"""Ranges a shard into which the hashed ids are parted, so that threads share the merging."""


def write(
    executor: Executor,
    dataset: Dataset,
    staging: Staging,
    further: Sequence[str],
    id_turns: int,
    progress: Progress,
    warn: Warn,
) -> list[Part]:
    """Write the segments of all rows, and warn of ids that occur more than once.

    The latter in `id_turns` turns; none where repeated ids were looked for already. `further` are
    the names of columns for what the shards know beside segment and distance.

    Raises
    ------
    ResourceError
        When a part is not seen from here: the workers have a file system of their own.
    """
    with progress.stage("write", dataset.rows):
        parts = [part for own in executor.map(write_parts, staging, further) for part in own]
    for part in parts:
        if staging.size(part.name) != part.bytes:
            raise ResourceError(
                f"{staging.path(part.name)}: written by a worker, but not seen from here; "
                "workers and the caller must share the output's file system"
            )
    if dataset.id is not None and id_turns:
        with progress.stage("check ids"):
            repeated = _repeated_ids(executor, id_turns)
        if repeated:
            warn(
                f"input.id = '{dataset.id}': {repeated:,} rows repeat an id that another row "
                "has; each row has its own line in the output"
            )
    return parts


def _repeated_ids(executor: Executor, turns: int) -> int:
    n_pieces = _ID_PIECES * executor.n_shards
    return sum(
        count
        for turn in range(turns)
        for count in executor.shuffle_reduce(
            partial(split_ids, turn=turn, turns=turns), count_duplicates, n_pieces
        )
    )
