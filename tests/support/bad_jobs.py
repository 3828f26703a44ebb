"""Jobs and data that are refused: tables of cases, with the code of each error.

`tests/jobs` check codes and fields; `tests/contracts/test_error_texts.py` compares the texts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpuseg.errors import ConfigError, DataError, GpusegError, ResourceError
from support.helpers import customers, cut, job, toml, write_files

MINIMAL = {"input": {"path": "in"}, "output": {"path": "out"}}
"""The smallest job."""


def changed(dotted: str, value: Any) -> dict[str, Any]:
    """Return the smallest job with one key set; ".key" is a key at the top."""
    section, key = dotted.split(".")
    if not section:
        return {**MINIMAL, key: value}
    return {**MINIMAL, section: {**MINIMAL.get(section, {}), key: value}}


UNKNOWN_KEYS = [
    ".imput", ".outputs", ".qqq", "input.feature", "input.wieght", "prepare.mising",
    "segment.n_cluster", "segment.random_sate", "runtime.memory", "runtime.workers",
    "output.over_write", "output.zzz", "input.missing", "output.skip_footer", ".missing",
    "input.mising", "input.quantity", "submit.mem", "submit.nodelist",
]  # fmt: skip
"""Keys that no job has."""

WRONG_VALUES: list[tuple[str, Any]] = [
    *(("segment.n_clusters", value) for value in ("8", 8.5, 8.0, True, 0, -1)),
    *(("segment.n_clusters", value) for value in ([], [3], [0, 3], [3, 3], [5, 2])),
    *(("segment.n_clusters", value) for value in ([2, 4, 3], [2, 3, 3], [2, "5"])),
    *(("segment.n_clusters", value) for value in ([2.0, 5], [True, 3], {"from": 2})),
    ("segment.metric", "manhattan"),
    ("segment.tol", -0.1),
    ("segment.tol", float("nan")),
    ("segment.tol", float("inf")),
    ("segment.random_state", -1),
    ("segment.random_state", 2**63),
    ("segment.n_init", 0),
    *(("segment.n_init", value) for value in (10**8, 10**30)),
    *(("segment.n_clusters", value) for value in (10**7, [2, 10**9], [2, 3, 10**30])),
    ("segment.n_clusters", list(range(1, 3000))),
    ("segment.max_clusters", 10**9),
    ("segment.max_iter", 10**5000),
    ("segment.init", "kmeans"),
    ("input.path", ""),
    ("input.path", 5),
    *(("input.encoding", value) for value in ("latin-99", "base64", 8)),
    *(("input.delimiter", value) for value in ("ab", "x", "")),
    ("input.quote", "''"),
    ("input.decimal", ";"),
    ("input.thousands", "x"),
    *(("input.header", value) for value in (1, [], ["a", "a"])),
    ("input.skip_rows", -1),
    ("input.sheet", ""),
    ("input.id", ["a"]),
    ("input.features", "spend"),
    ("audit.columns", "[country]"),
    ("input.features", []),
    ("input.features", ["a", "b", "a"]),
    ("input.features", ["a", 1]),
    ("input.null_values", "NULL"),
    ("input.null_values", [0]),
    ("prepare.missing", "ignore"),
    ("prepare.clip", 0.99),
    ("prepare.clip", [0.9, 0.1]),
    ("prepare.clip", [0.0, 99]),
    ("prepare.scale", "l2"),
    ("prepare.transform", "log"),
    ("prepare.transform", {"spend": "log"}),
    ("runtime.cluster", "laptop"),
    ("runtime.cluster", "slurm"),
    ("runtime.n_workers", 0),
    ("runtime.n_workers", 10**9),
    ("runtime.threads_per_worker", 10**6),
    ("prepare.pca", 10**400),
    ("runtime.backend", "gpu"),
    ("runtime.reader", "pyarrow"),
    ("runtime.memory_limit", "lots"),
    ("runtime.memory_limit", "-4GiB"),
    *(("runtime.memory_limit", value) for value in (True, 0, 10**5000, "9" * 400 + "GiB")),
    ("input.path", "a\0b"),
    ("input.path", "\ud800"),
    ("output.path", "a" * 5000),
    ("input.storage_options", "SECRET"),
    ("output.overwrite", "yes"),
    ("output.overwrite", 1),
    *(("submit.time", value) for value in ("soon", 0, "400d", True)),
    ("submit.tasks", 0),
    ("submit.cpus", "4"),
    ("submit.memory", "plenty"),
    ("submit.kind", "pbs"),
    ("submit.partition", "a\nb"),
    ("submit.setup", "module load x"),
    ("submit.environment", {"A B": "c"}),
    ("submit.namespace", "-shop"),
    ("submit.claims", {"customers": "data"}),
    ("submit.secrets", {"KEY": "shop"}),
    ("submit.pod", {"containers": []}),
    ("submit.pod", {"priority": float("nan")}),
    (".input", 3),
    (".segment", 3),
    (".output", 3),
]
"""Keys with values that break their rule."""

NESTED: dict[str, Any] = {}
for _ in range(5000):
    NESTED = {"a": NESTED}

LINES = {"path": "lines", "customer": "who", "time": "at", "amount": "paid"}
DBSCAN = {"algorithm": "dbscan", "eps": 1.0}

BROKEN_RULES: dict[str, tuple[dict[str, Any], str, str]] = {
    "no section": ({}, "job.several_errors", ""),
    "no input": ({"output": {"path": "out"}}, "job.missing_key", "input"),
    "no eps": ({**MINIMAL, "segment": {"algorithm": "dbscan"}}, "job.missing_key", "segment.eps"),
    "key of another algorithm": (
        {**MINIMAL, "segment": {**DBSCAN, "n_clusters": 3}}, "job.unknown_key",
        "segment.n_clusters",
    ),
    "algorithm": (changed("segment.algorithm", "optics"), "algorithm.unknown", "segment.algorithm"),
    "algorithm is a number": (
        changed("segment.algorithm", 3), "algorithm.unknown", "segment.algorithm",
    ),
    "init of a sweep": (
        {**MINIMAL, "segment": {"n_clusters": [2, 3], "init": [[0.0], [1.0]]}},
        "init.several_n_clusters", "segment.init",
    ),
    "two sources": ({**MINIMAL, "transactions": LINES}, "input.with_transactions", "input"),
    "key of lines in the input": (
        {
            "transactions": LINES, "input": {"id_hash_key_env": "KEY", "features": ["spend"]},
            "output": {"path": "out"},
        },
        "input.with_transactions", "input",
    ),
    "key of the input beside lines": (
        {"transactions": LINES, "input": {"weight": "w"}, "output": {"path": "out"}},
        "input.with_transactions", "input",
    ),
    "two sources, one of them wrong": (
        {**MINIMAL, "transactions": {"customer": "who"}}, "job.several_errors", "",
    ),
    "join without lines": (
        {**MINIMAL, "join": [{"path": "a", "id": "b"}]}, "join.without_transactions", "join",
    ),
    "key of a second join": (
        {
            "transactions": LINES, "output": {"path": "out"},
            "join": [{"path": "a", "id": "b"}, {"path": "a", "id": "b", "colums": ["c"]}],
        },
        "job.unknown_key", "join[1].colums",
    ),
    "amount and price": (
        {"transactions": {**LINES, "price": "p"}, "output": {"path": "out"}},
        "transactions.price_or_amount", "transactions",
    ),
    "format of times with an unknown word": (
        {"transactions": {**LINES, "time_format": "%d/%m/%Q"}, "output": {"path": "out"}},
        "job.invalid_value", "transactions.time_format",
    ),
    "format of times without a year": (
        {"transactions": {**LINES, "time_format": ["%d/%m"]}, "output": {"path": "out"}},
        "job.invalid_value", "transactions.time_format",
    ),
    "levels that decrease": (
        {**MINIMAL, "segment": {"algorithm": "hierarchical", "levels": [8, 3]}},
        "levels.not_increasing", "segment.levels",
    ),
    "levels and their last one": (
        {**MINIMAL, "segment": {"algorithm": "hierarchical", "levels": [3, 8], "n_clusters": 8}},
        "n_clusters.with_levels", "segment.n_clusters",
    ),
    "few small segments": (
        {**MINIMAL, "segment": {"algorithm": "hierarchical", "n_clusters": 2000}},
        "micro_segments.too_few", "segment.micro_segments",
    ),
    "indicator of nothing": (
        changed("prepare.missing_indicator", True), "missing_indicator.no_missing",
        "prepare.missing_indicator",
    ),
    "backend on the CPU": (
        {**MINIMAL, "runtime": {"cluster": "cuda", "backend": "numba"}}, "backend.not_on_gpu",
        "runtime.backend",
    ),
    "reader on the CPU": (
        {**MINIMAL, "runtime": {"reader": "cudf", "backend": "numba"}}, "reader.backend_on_cpu",
        "runtime.reader",
    ),
    "threads of all workers": (
        {**MINIMAL, "runtime": {"n_workers": 1000, "threads_per_worker": 1000}},
        "n_workers.too_many_threads", "runtime.n_workers",
    ),
    "micro segments": (
        {**MINIMAL, "segment": {"algorithm": "hierarchical", "micro_segments": 10**7}},
        "job.invalid_value", "segment.micro_segments",
    ),
    "too many levels": (
        {**MINIMAL, "segment": {"algorithm": "hierarchical", "levels": [*range(1, 500)]}},
        "job.invalid_value", "segment.levels",
    ),
    "nested tables": (
        changed("input.storage_options", NESTED), "job.nested_too_deeply", "input",
    ),
    "table in a list of lists": (
        changed("input.features", [["a", {"secret": "SECRET"}]]), "job.invalid_value",
        "input.features",
    ),
    "threads elsewhere": (
        {**MINIMAL, "runtime": {"cluster": "tcp://h:1", "threads_per_worker": 2}},
        "threads_per_worker.external_cluster", "runtime.threads_per_worker",
    ),
    "certificates of no scheduler": (
        {**MINIMAL, "runtime": {"cluster": "dask", "tls_cert": "c.pem", "tls_ca_file": "ca.pem"}},
        "tls.only_of_scheduler", "runtime.tls_ca_file",
    ),
    "certificate without authority": (
        {**MINIMAL, "runtime": {"cluster": "tls://h:1", "tls_cert": "c.pem", "tls_key": "k.pem"}},
        "tls.incomplete", "runtime.tls_cert",
    ),
    "audit of nothing": (
        {**MINIMAL, "audit": {"threshold": 3}}, "threshold.no_columns", "audit.threshold",
    ),
    "audit of lines": (
        {"transactions": LINES, "output": {"path": "out"}, "audit": ["a"]},
        "audit.with_transactions", "audit",
    ),
    "audit of the id": (
        {**MINIMAL, "input": {"path": "in", "id": "a"}, "audit": ["a"]}, "audit.column_in_use",
        "audit.columns",
    ),
    "id of the output": (changed("input.id", "distance"), "id.reserved_name", "input.id"),
    "id of a level": (
        {
            "input": {"path": "in", "id": "segment_3"}, "output": {"path": "out"},
            "segment": {"algorithm": "hierarchical", "levels": [3, 8]},
        },
        "id.reserved_name", "input.id",
    ),
    "id is a feature": (
        {**MINIMAL, "input": {"path": "in", "id": "a", "features": ["a"]}}, "features.has_id",
        "input.features",
    ),
    "weight is a category": (
        {
            **MINIMAL, "input": {"path": "in", "weight": "a"},
            "prepare": {"categorical": {"a": "onehot"}},
        },
        "categorical.has_weight", "prepare.categorical",
    ),
    "no ids to hash": (
        changed("input.id_hash_key_env", "KEY"), "id_hash_key_env.no_id", "input.id_hash_key_env",
    ),
    "no ids to compare": (
        changed("prepare.duplicates", "first"), "duplicates.no_id", "prepare.duplicates",
    ),
    "confidence": (
        {**MINIMAL, "segment": DBSCAN, "output": {"path": "out", "confidence": True}},
        "confidence.not_available", "output.confidence",
    ),
}  # fmt: skip
"""Jobs that break one rule: the job, the code, and the key at fault."""

MALFORMED_OVERRIDES = ["n_clusters=8", "segment.n_clusters", "=8", ".=8", "segment.=8"]


@dataclass
class Scene:
    """A job over two files of 200 and 400 rows, which a case then spoils."""

    folder: Path
    table: pa.Table = field(default_factory=lambda: customers(600))
    path: str = "in"
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    after: Callable[[Path], object] = lambda source: None

    def write(self) -> Path:
        """Write input and job file; return the latter."""
        source = write_files(self.folder / "in", cut(self.table, 200))
        self.after(source)
        file = self.folder / "job.toml"
        file.write_text(toml(job(self.folder / self.path, self.folder / "out", **self.sections)))
        return file


Change = Callable[[Scene], object]


@dataclass(frozen=True)
class BadJob:
    """A change that makes a run fail, and its error.

    Attributes
    ----------
    kind : class of the error
    code : str
    words : data that the text has: names, numbers, places
    stable : whether the text is the same on every machine and with every version of a library
    """

    change: Change
    kind: type[GpusegError]
    code: str
    words: tuple[str, ...] = ()
    stable: bool = True

    def write(self, folder: Path) -> Path:
        """Write the job and its data; return the job file."""
        scene = Scene(folder)
        self.change(scene)
        return scene.write()


def keys(section: str, **values: Any) -> Change:
    """Set keys of the job."""
    return lambda scene: scene.sections.update({section: values})


def text(content: str | bytes, name: str = "a.csv", **values: Any) -> Change:
    """Let the job read a text file of this content, and set keys of the input."""

    def change(scene: Scene) -> None:
        def write(source: Path) -> None:
            (source.parent / "text").mkdir()
            encoded = content.encode() if isinstance(content, str) else content
            (source.parent / "text" / name).write_bytes(encoded)

        scene.path, scene.after = "text", write
        scene.sections.update({"input": values})

    return change


def three_rows(value: str, delimiter: str = ",") -> str:
    """Return a CSV file with three rows; the second one has a value as its recency."""
    lines = ("customer,recency,orders,spend", "1,1,2,3", "2,?,3,4", "3,3,4,5")
    return "\n".join([*lines, ""]).replace(",", delimiter).replace("?", value)


def path(name: str) -> Change:
    """Let the job read another path."""

    def change(scene: Scene) -> None:
        scene.path = name
        (scene.folder / "empty").mkdir()
        write_files(scene.folder / "hidden" / "_temporary", [scene.table])
        write_files(scene.folder / "hidden" / ".part", [scene.table])

    return change


def column(name: str, values: Any, **sections: dict[str, Any]) -> Change:
    """Replace or add a column, and set keys of the job."""

    def change(scene: Scene) -> None:
        if name in scene.table.column_names:
            at = scene.table.column_names.index(name)
            scene.table = scene.table.set_column(at, name, pa.array(values))
        else:
            scene.table = scene.table.append_column(name, pa.array(values))
        scene.sections.update(sections)

    return change


def numbers(special_rows: list[int], value: Any) -> list[Any]:
    """Return 600 different numbers, with a special value in some rows."""
    return [value if i in special_rows else i / 7 for i in range(600)]


def rows(table: pa.Table) -> Change:
    """Let the job read other customers."""
    return lambda scene: setattr(scene, "table", table)


def second_file(spoil: Callable[[Path], object]) -> Change:
    """Spoil the second file."""
    return lambda scene: setattr(scene, "after", lambda source: spoil(source / "in-001.parquet"))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(checksum: bool, in_header: bool) -> Callable[[Path], None]:
    """Flip bytes of the first page of `orders`: in its header, or in the middle of it."""

    def spoil(file: Path) -> None:
        table = pq.read_table(file)
        pq.write_table(table, file, write_page_checksum=checksum, use_dictionary=False)
        chunk = pq.read_metadata(file).row_group(0).column(2)
        content = bytearray(file.read_bytes())
        at = chunk.data_page_offset + (0 if in_header else chunk.total_compressed_size // 2)
        for i in range(at, at + 4):
            content[i] ^= 0xFF
        file.write_bytes(content)

    return spoil


def replace_spend(file: Path, value: int) -> None:
    table = pq.read_table(file)
    values = pa.array([value] * table.num_rows)
    pq.write_table(table.set_column(3, "spend", values), file)


def change_type(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(table.set_column(3, "spend", table["spend"].cast(pa.string())), file)


NAN = float("nan")
WEIGHT = {"input": {"weight": "w"}}
ONE = {"input": {"features": ["spend"]}}
LOG1P = {"prepare": {"transform": {"spend": "log1p"}}}
DROP = {"prepare": {"missing": "drop"}}
NONE_OF_SPEND = pa.nulls(600, pa.float64())


def data(change: Change, code: str, *words: str, stable: bool = True) -> BadJob:
    return BadJob(change, DataError, code, words, stable)


def config(change: Change, code: str, *words: str) -> BadJob:
    return BadJob(change, ConfigError, code, words)


CASES: dict[str, BadJob] = {
    # The data.
    "no path": data(path("nowhere"), "path.not_found", "/nowhere'"),
    "glob of no file": data(path("in-2*.parquet"), "path.no_match", "/in-2*.parquet'"),
    "glob of a web server": config(
        keys("input", path="https://host.example/*.parquet"), "path.glob_of_web_server", "list"
    ),
    "empty list of paths": config(keys("input", path=[]), "job.invalid_value", "input.path"),
    "empty folder": data(path("empty"), "path.no_data_file", "/empty'"),
    "hidden names only": data(path("hidden"), "path.no_data_file", "/hidden'"),
    "truncated": data(second_file(truncate), "file.not_parquet", "in-001.parquet", stable=False),
    "CSV: a word": data(text(three_rows("two")), "input.not_a_number", "'two'", "line 3 of a.csv"),
    "CSV: leading zeros": data(text(three_rows("007")), "input.not_a_number", "'007'"),
    "CSV: a comma": data(text(three_rows('"1,234"')), "numbers.ambiguous", "1.234", "1234"),
    "CSV: a point": data(text(three_rows("1.234", ";")), "numbers.ambiguous", "1.234", "1234"),
    "CSV: two decimal signs": data(
        text("customer;recency;orders;spend\n1;1,5;2.5;3\n"), "numbers.formats_differ", "'1,5'"
    ),
    "CSV: a row too long": data(text(three_rows("1,2")), "file.row_length", "line 3", "5 values"),
    "CSV: a title": data(
        text(f"May\n\n{three_rows('1')}"), "file.title_above_header", "skip_rows = 2"
    ),
    "CSV: no header": data(text("1,2\n3,4\n"), "file.no_header", "header"),
    "CSV: too few names": data(
        text(three_rows("1"), header=["customer"]), "file.header_length", "4 values"
    ),
    "CSV: Cyrillic": data(
        text(f"{three_rows('1')}4,1,2,Москва\n".encode("cp1251")),
        "file.unknown_encoding",
        "encoding",
    ),
    "CSV: totals": data(
        text(f"{three_rows('2')}Total,6,9,12\n"), "file.total_row", "skip_footer = 1"
    ),
    "CSV: a shortened id": data(
        text(f"{three_rows('1')}1.23E+17,1,2,3\n"), "id.damaged", "1.23E+17", "line 5 of a.csv"
    ),
    "CSV: two currencies": data(
        text(f"{three_rows('$1')}4,€1,2,3\n"), "numbers.mixed_currencies", "'$'", "'€'"
    ),
    "CSV: a web page": data(
        text("<!DOCTYPE html>\n<html><body>Sign in</body></html>\n"), "file.not_csv", "a.csv"
    ),
    "CSV: empty": data(text(""), "file.empty", "a.csv"),
    "CSV: two names": data(
        text("customer,recency,recency\n"), "file.duplicate_column", "'recency'"
    ),
    "CSV: no workbook": config(
        text(three_rows("1"), sheet="May"), "text_options.not_used", "sheet"
    ),
    "Excel: CSV": data(
        text(three_rows("1"), "a.xlsx"), "file.not_workbook", "a.xlsx", stable=False
    ),
    "Parquet: a delimiter": config(
        keys("input", delimiter=";"), "text_options.not_used", "delimiter"
    ),
    "text": data(
        second_file(lambda file: file.write_text("a,b\n1,2\n")),
        "file.not_parquet",
        "in-001.parquet",
        stable=False,
    ),
    "empty file": data(
        second_file(lambda file: file.write_bytes(b"")),
        "file.not_parquet",
        "in-001.parquet",
        stable=False,
    ),
    "flipped, checksum": data(
        second_file(flip(True, False)),
        "file.damaged",
        "in-001.parquet",
        "row group 0",
        "CRC",
        stable=False,
    ),
    "flipped, no checksum": data(
        second_file(flip(False, True)),
        "file.damaged",
        "in-001.parquet",
        "row group 0",
        stable=False,
    ),
    "schemas": data(
        second_file(change_type),
        "input.schemas_differ",
        "'spend'",
        "double",
        "in-000.parquet",
        "string",
        "in-001.parquet",
    ),
    "lost value": data(
        second_file(partial(replace_spend, value=2**53 + 1)),
        "input.value_lost",
        "'spend'",
        "9007199254740993",
        "in-001.parquet",
    ),
    "Hudi table": data(
        second_file(lambda file: (file.parent / ".hoodie").mkdir()), "table.unsupported", "Hudi"
    ),
    "inside a Delta table": data(
        second_file(lambda file: (file.parents[1] / "_delta_log").mkdir()),
        "table.path_inside",
        "Delta",
    ),
    "no rows": data(rows(customers(600).slice(0, 0)), "input.no_rows", "2 files"),
    "no such feature": data(
        keys("input", features=["recency", "spent"]),
        "features.missing_column",
        "input.features",
        "'spent'",
        "'spend'",
    ),
    "no such id": data(
        keys("input", id="custmer"), "id.missing_column", "input.id", "'custmer'", "'customer'"
    ),
    "no such weight": data(
        keys("input", weight="w"), "weight.missing_column", "input.weight", "'w'"
    ),
    "text feature": data(column("spend", ["x"] * 600), "features.not_numeric", "'spend'", "string"),
    "date feature": data(
        column("spend", pa.array(range(600), pa.date32())),
        "features.not_numeric",
        "'spend'",
        "date32",
    ),
    "vector of another length": data(
        column("spend", [[1.0, 2.0]] * 599 + [[3.0]]),
        "vector.wrong_shape",
        "'spend'",
        "row 399 of in-001",
    ),
    "empty vectors": data(
        column("spend", pa.array([[]] * 600, pa.list_(pa.float32()))),
        "vector.wrong_size",
        "'spend'",
    ),
    "no vector": data(
        column("spend", pa.nulls(600, pa.list_(pa.float32()))),
        "feature.all_missing",
        "'spend'",
    ),
    "list of text": data(column("spend", [["x"]] * 600), "features.not_numeric", "'spend'"),
    "list as category": data(
        column("spend", [[1]] * 600, prepare={"categorical": {"spend": "onehot"}}),
        "categorical.nested",
        "'spend'",
    ),
    "list id": data(column("customer", [[i] for i in range(600)]), "id.nested", "customer", "list"),
    "NaN": data(
        column("spend", numbers([7, 250, 260], NAN)),
        "feature.missing",
        "'spend'",
        "3 values",
        "row 7 of in-000.parquet",
        "prepare.missing",
    ),
    "one null": data(
        column("orders", numbers([250], None)),
        "feature.missing",
        "'orders'",
        "1 value",
        "row 50 of in-001.parquet",
    ),
    "infinity": data(
        column("spend", numbers([599], float("-inf"))),
        "feature.infinite",
        "'spend'",
        "row 399 of in-001.parquet",
    ),
    "infinity, drop": data(
        column("spend", numbers([3, 4], np.inf), **DROP),
        "feature.infinite",
        "2 values",
        "row 3 of in-000.parquet",
    ),
    "all missing": data(
        column("spend", NONE_OF_SPEND, prepare={"missing": "mean"}),
        "feature.all_missing",
        "'spend'",
        "600",
        "input.features",
    ),
    "all dropped": data(column("spend", NONE_OF_SPEND, **DROP), "rows.none_left", "'drop'"),
    "1e300": data(
        column("spend", numbers([201], 1e300)),
        "feature.beyond_float32",
        "'spend'",
        "1e+300",
        "row 1 of in-001.parquet",
    ),
    "log1p": data(
        column("spend", numbers([5, 9], -5.0), **LOG1P),
        "feature.outside_log1p",
        "'spend'",
        "2 values",
        "row 5 of in-000.parquet",
        "'log1p'",
    ),
    "few rows": data(
        rows(customers(202).slice(200)), "n_clusters.too_few_rows", "n_clusters", "3", "2 rows"
    ),
    "few rows, sweep": data(
        keys("segment", n_clusters=[2, 3, 601]), "n_clusters.too_few_rows", "601", "600 rows"
    ),
    "few distinct rows, sweep": data(
        column("spend", [float(i % 3) for i in range(600)], **ONE, segment={"n_clusters": [2, 4]}),
        "n_clusters.too_few_distinct_rows",
        "segment.n_clusters = 4",
        "3 distinct rows",
    ),
    "few distinct rows": data(
        rows(pa.concat_tables([customers(2)] * 300)),
        "n_clusters.too_few_distinct_rows",
        "segment.n_clusters = 3",
        "2 distinct rows",
    ),
    "zeros, cosine": data(
        column(
            "spend",
            [float(i != 205) for i in range(600)],
            **ONE,
            prepare={"scale": "none"},
            segment={"metric": "cosine"},
        ),
        "features.no_direction",
        "cosine",
    ),
    "constant": data(
        column("spend", [4.5] * 600), "feature.constant", "'spend'", "4.5", "prepare.scale"
    ),
    "no spread": data(
        column("spend", numbers([1], 9.0)[:2] + [4.5] * 598, prepare={"scale": "robust"}),
        "feature.constant",
        "'spend'",
        'scale = "standard"',
    ),
    "negative weight": data(
        column("w", numbers([210], -2.0), **WEIGHT),
        "weight.invalid",
        "'w'",
        "-2",
        "row 10 of in-001.parquet",
    ),
    "large weight": data(
        column("w", numbers([210], 1e300), **WEIGHT), "weight.invalid", "1e+300", "divide"
    ),
    "missing category": data(
        column("kind", ["a", None, "b"] * 200, prepare={"categorical": {"kind": "onehot"}}),
        "category.missing",
        "'kind'",
        "200 values",
        "of its own",
    ),
    "NaN weight": data(
        column("w", numbers([0], NAN), **WEIGHT), "weight.invalid", "nan", "row 0 of in-000"
    ),
    "null weight": data(
        column("w", numbers([1], None), **WEIGHT), "weight.invalid", "nan", "row 1 of in-000"
    ),
    "zero weights": data(column("w", [0.0] * 600, **WEIGHT), "weight.all_zero"),
    "text weight": data(column("w", ["x"] * 600, **WEIGHT), "weight.not_numeric", "'w'", "string"),
    # The job.
    "transform of no feature": config(
        keys("prepare", transform={"spnd": "log1p"}),
        "transform.unknown_feature",
        "prepare.transform",
        "spnd",
        "'spend'",
    ),
    "init, too few": config(
        keys("segment", init=[[0.0] * 3]), "init.wrong_shape", "init", "1 center", "= 3"
    ),
    "init, narrow": config(
        keys("segment", init=[[0.0, 1.0]] * 3), "init.wrong_shape", "init", "(3, 3)"
    ),
    "init, ragged": config(
        keys("segment", init=[[0.0] * 3] * 2 + [[0.0]]), "init.wrong_shape", "init", "(3, 3)"
    ),
    "init, NaN": config(keys("segment", init=[[NAN] * 3] * 3), "init.not_finite", "init"),
    # The machine.
    "memory": BadJob(
        keys("runtime", memory_limit="1MiB", threads_per_worker=1),
        ResourceError,
        "memory_limit.too_low",
        ("1 worker", "382 MiB"),
    ),
    "cuda": BadJob(
        keys("runtime", backend="cuda"),
        ResourceError,
        "backend.unavailable",
        ("'cuda'",),
        stable=False,
    ),
    "scheduler": BadJob(
        keys("runtime", cluster="tcp://127.0.0.1:1"),
        ResourceError,
        "cluster.unreachable",
        ("tcp://127.0.0.1:1",),
        stable=False,
    ),
    "scheduler with certificates": config(
        keys("runtime", cluster="tls://127.0.0.1:1"), "tls.no_certificates", "tls://127.0.0.1:1"
    ),
    "no certificate": config(
        keys("runtime", cluster="tls://h:1", tls_ca_file="/no/ca.pem", tls_cert="/no/c.pem"),
        "tls.unreadable_file",
        "/no/ca.pem",
    ),
    "scheduler file": BadJob(
        keys("runtime", cluster="/no/scheduler.json"),
        ResourceError,
        "cluster.no_scheduler_file",
        ("/no/scheduler.json",),
    ),
}
"""Runs that fail, by name. A case without a code is of a layer whose errors have none yet."""
