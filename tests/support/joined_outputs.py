"""Small outputs that are joined by id."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.io.output.base import Staging
from gpuseg.io.storage import Storage
from gpuseg.lineage.labeled_parts import LabeledParts
from gpuseg.lineage.migration import JoinedOutputs, join_segments
from gpuseg.manifest import PartSummary


class Joins:
    """Writes outputs into a folder, and joins them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def output(
        self, ids: pa.Array | None, segments: Any, parts: int = 1, group: int = 500
    ) -> LabeledParts:
        """Write an output of `parts` files."""
        self.count += 1
        folder = self.folder / f"output-{self.count}"
        folder.mkdir()
        table = pa.table({"segment": pa.array(segments, pa.int32())})
        if ids is not None:
            table = table.add_column(0, "customer", ids)
        size = max(-(-len(table) // parts), 1)
        summaries = []
        for number, start in enumerate(range(0, max(len(table), 1), size)):
            path = folder / f"part-{number:05d}.parquet"
            pq.write_table(table.slice(start, size), path, row_group_size=group)
            rows = min(size, len(table) - start)
            summaries.append(PartSummary(name=path.name, rows=rows, bytes=path.stat().st_size))
        return LabeledParts.published(Storage.from_url(str(folder), {}, "path"), summaries)

    def join(self, older: LabeledParts, newer: LabeledParts, **options: Any) -> JoinedOutputs:
        """Join two outputs; the changes are in the folder `target`."""
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()
        staging = Staging(Storage.from_url(str(self.target), {}, "path"), str(self.target), "")
        return join_segments(older, newer, staging, **options)

    @property
    def target(self) -> Path:
        return self.folder / "target"

    def changes(self) -> pa.Table:
        return pq.read_table(self.target / "_changes")

    def digest(self) -> str:
        files = sorted((self.target / "_changes").iterdir())
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
