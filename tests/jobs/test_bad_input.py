"""Whatever is wrong has its exit code and a message with place, value, rule and next step.

2: the job or the command line; 3: the data; 4: a resource. Nothing is written, no traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.helpers import Outcome, call, customers, cut, job, listing, shell, toml, write_files

NO_VALUE = float("nan")


@dataclass
class Scene:
    """A job over two files of 200 and 400 rows, which a case then spoils."""

    folder: Path
    table: pa.Table = field(default_factory=lambda: customers(600))
    path: str = "in"
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: list[str] = field(default_factory=lambda: ["in-000.parquet", "in-001.parquet"])
    after: Callable[[Path], object] = lambda source: None

    def write(self) -> Path:
        """Write input and job file; return the latter."""
        source = write_files(self.folder / "in", cut(self.table, 200))
        self.after(source)
        file = self.folder / "job.toml"
        file.write_text(toml(job(self.folder / self.path, self.folder / "out", **self.sections)))
        return file


Change = Callable[[Scene], object]


def keys(section: str, **values: Any) -> Change:
    """Set keys of the job."""
    return lambda scene: scene.sections.update({section: values})


def path(name: str) -> Change:
    """Let the job read another path."""

    def change(scene: Scene) -> None:
        scene.path = name
        (scene.folder / "empty").mkdir()
        write_files(scene.folder / "hidden" / "_temporary", [scene.table])
        write_files(scene.folder / "hidden" / ".part", [scene.table])

    return change


def column(name: str, values: Any, **more: dict[str, Any]) -> Change:
    """Replace or add a column."""

    def change(scene: Scene) -> None:
        if name in scene.table.column_names:
            at = scene.table.column_names.index(name)
            scene.table = scene.table.set_column(at, name, pa.array(values))
        else:
            scene.table = scene.table.append_column(name, pa.array(values))
        scene.sections.update(more)

    return change


def some(rows: list[int], value: Any) -> list[Any]:
    """600 different numbers, and a special value in some rows."""
    return [value if i in rows else i / 7 for i in range(600)]


def rows(table: pa.Table) -> Change:
    return lambda scene: setattr(scene, "table", table)


def spoiled(spoil: Callable[[Path], object]) -> Change:
    """Do something to the second file."""
    return lambda scene: setattr(scene, "after", lambda source: spoil(source / "in-001.parquet"))


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flipped(checksum: bool, place: str) -> Callable[[Path], None]:
    """Flip bytes of the first page of `orders`: within its header, or in the middle of it."""

    def spoil(file: Path) -> None:
        table = pq.read_table(file)
        pq.write_table(table, file, write_page_checksum=checksum, use_dictionary=False)
        chunk = pq.read_metadata(file).row_group(0).column(2)
        content = bytearray(file.read_bytes())
        size = chunk.total_compressed_size
        at = chunk.data_page_offset + (size // 2 if place == "middle" else 0)
        for i in range(at, at + 4):
            content[i] ^= 0xFF
        file.write_bytes(content)

    return spoil


def another_type(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(table.set_column(3, "spend", table["spend"].cast(pa.float32())), file)


WEIGHT = {"input": {"weight": "w"}}
DAMAGED = ["in-001.parquet: row group 0 cannot be decoded", "write it again"]
CASES: list[tuple[str, int, Change, list[str]]] = [
    # The data.
    ("no path", 3, path("nowhere"), ["/nowhere'", "no such file or folder", "give a Parquet"]),
    ("empty folder", 3, path("empty"), ["/empty'", "no data file", "put Parquet files into it"]),
    ("hidden names only", 3, path("hidden"), ["/hidden'", "begin with '_' or '.'"]),
    ("truncated", 3, spoiled(truncated), ["in-001.parquet", "not a whole Parquet file", "again"]),
    ("text", 3, spoiled(lambda f: f.write_text("a,b\n1,2\n")), ["in-001.parquet", "not a whole"]),
    ("empty file", 3, spoiled(lambda f: f.write_bytes(b"")), ["in-001.parquet", "not a whole"]),
    ("flipped, checksum", 3, spoiled(flipped(True, "middle")), [*DAMAGED, "CRC checksum"]),
    ("flipped, no checksum", 3, spoiled(flipped(False, "header")), DAMAGED),
    ("schemas", 3, spoiled(another_type), [
        "column 'spend' is double in in-000.parquet, but float in in-001.parquet", "one schema",
    ]),
    ("no rows", 3, rows(customers(600).slice(0, 0)), ["the 2 files have no rows"]),
    ("no such feature", 3, keys("input", features=["recency", "spent"]), [
        "input.features: no column 'spent' in in-000.parquet; did you mean 'spend'?",
    ]),
    ("no such id", 3, keys("input", id="custmer"), [
        "input.id: no column 'custmer' in in-000.parquet; did you mean 'customer'?",
    ]),
    ("no such weight", 3, keys("input", weight="w"), ["input.weight: no column 'w'", "known are"]),
    ("text feature", 3, column("spend", ["x"] * 600), [
        "feature 'spend': column of type string in in-000.parquet is not numeric", "leave it out",
    ]),
    ("date feature", 3, column("spend", pa.array(range(600), pa.date32())), ["date32", "spend"]),
    ("NaN", 3, column("spend", some([7, 250, 260], NO_VALUE)), [
        "feature 'spend': 3 values are missing", "row 7 of in-000.parquet", "prepare.missing",
        "use 'drop', 'mean', 'median' or 'zero'",
    ]),
    ("one null", 3, column("orders", some([250], None)), [
        "feature 'orders': 1 value is missing", "first in row 50 of in-001.parquet",
    ]),
    ("infinity", 3, column("spend", some([599], float("-inf"))), [
        "feature 'spend': 1 value is infinite", "row 399 of in-001.parquet", "must be finite",
    ]),
    ("infinity, drop", 3, column("spend", some([3, 4], np.inf), prepare={"missing": "drop"}), [
        "feature 'spend': 2 values are infinite, first in row 3 of in-000.parquet",
    ]),
    ("all missing", 3, column("spend", pa.nulls(600, pa.float64()), prepare={"missing": "mean"}), [
        "feature 'spend': all 600 values are missing", "leave it out of input.features",
    ]),
    ("all dropped", 3, column("spend", pa.nulls(600, pa.float64()), prepare={"missing": "drop"}), [
        "no rows left", "use 'mean', 'median' or 'zero'",
    ]),
    ("1e300", 3, column("spend", some([201], 1e300)), [
        "feature 'spend': value 1e+300 in row 1 of in-001.parquet", "beyond float32", "rescale",
    ]),
    ("log1p", 3, column("spend", some([5, 9], -5.0), prepare={"transform": {"spend": "log1p"}}), [
        "feature 'spend': 2 values are at or below -1", "row 5 of in-000.parquet", "'log1p'",
        "to 'yeo-johnson' or 'none'",
    ]),
    ("few rows", 3, rows(customers(202).slice(200)), ["n_clusters = 3", "only 2 rows", "<= 2"]),
    ("few rows, sweep", 3, keys("segment", n_clusters=[2, 3, 601]), [
        "n_clusters = 601", "only 600 rows", "<= 600",
    ]),
    ("few distinct rows, sweep", 3, column(
        "spend", [float(i % 3) for i in range(600)], input={"features": ["spend"]},
        segment={"n_clusters": [2, 4]},
    ), ["segment.n_clusters = 4", "only 3 distinct rows", "use n_clusters <= 3"]),
    ("zeros, cosine", 3, column(
        "spend", [float(i != 205) for i in range(600)], input={"features": ["spend"]},
        prepare={"scale": "none"}, segment={"metric": "cosine"},
    ), ["cosine", "zeros"]),
    ("few distinct rows", 3, rows(pa.concat_tables([customers(2)] * 300)), [
        "segment.n_clusters = 3", "only 2 distinct rows", "use n_clusters <= 2",
    ]),
    ("constant", 3, column("spend", [4.5] * 600), [
        "feature 'spend': constant (value 4.5)", "standard deviation", "prepare.scale = 'none'",
    ]),
    ("no spread", 3, column("spend", some([1], 9.0)[:2] + [4.5] * 598, prepare={"scale": "robust"}),
        ["feature 'spend': constant in its middle half", "interquartile", "'standard'"]),
    ("negative weight", 3, column("w", some([210], -2.0), **WEIGHT), [
        "input.weight = 'w': value -2 in row 10 of in-001.parquet", "at least 0",
    ]),
    ("NaN weight", 3, column("w", some([0], NO_VALUE), **WEIGHT), ["value nan in row 0 of in-000"]),
    ("null weight", 3, column("w", some([1], None), **WEIGHT), ["value nan in row 1 of in-000"]),
    ("zero weights", 3, column("w", [0.0] * 600, **WEIGHT), ["all weights are zero"]),
    ("text weight", 3, column("w", ["x"] * 600, **WEIGHT), ["'w'", "string", "not numeric"]),
    # The job.
    ("n_clusters 0", 2, keys("segment", n_clusters=0), ["segment.n_clusters = 0: must be a "]),
    ("n_clusters text", 2, keys("segment", n_clusters="8"), ["n_clusters = '8': must be a "]),
    ("n_clusters none", 2, keys("segment", n_clusters=[]), ["n_clusters = []: must be a "]),
    ("n_clusters falls", 2, keys("segment", n_clusters=[5, 2]), ["n_clusters = [5, 2]: must be"]),
    ("init of a sweep", 2, keys("segment", n_clusters=[2, 3], init=[[0.0] * 3] * 3), [
        "init: centres suit one n_clusters only",
    ]),
    ("metric", 2, keys("segment", metric="l1"), ["segment.metric = 'l1': must be 'euclidean' or"]),
    ("unknown key", 2, keys("segment", n_cluster=8), ["unknown key; did you mean 'n_clusters'?"]),
    ("unknown section", 2, keys("input", path=3), ["input.path = 3: must be a valid string"]),
    ("transform of no feature", 2, keys("prepare", transform={"spnd": "log1p"}), [
        "prepare.transform.spnd: not a feature; did you mean 'spend'?",
    ]),
    ("id of the output", 2, keys("input", id="segment"), ["input.id = 'segment'", "rename"]),
    ("init, too few", 2, keys("segment", init=[[0.0] * 3]), ["has 1 rows of 3", "= (3, 3)"]),
    ("init, narrow", 2, keys("segment", init=[[0.0, 1.0]] * 3), ["3 rows of 2 values", "= (3, 3)"]),
    ("init, ragged", 2, keys("segment", init=[[0.0] * 3] * 2 + [[0.0]]), ["1 or 3 values"]),
    ("init, NaN", 2, keys("segment", init=[[NO_VALUE] * 3] * 3), ["init", "must be finite"]),
    ("threads elsewhere", 2, keys("runtime", cluster="tcp://h:1", threads_per_worker=2), [
        "threads_per_worker", "leave the key out",
    ]),
    # The machine.
    ("memory", 4, keys("runtime", memory_limit="1MiB"), [
        "runtime.memory_limit = 1 MiB a worker: the largest of 1 shards needs about ",
        " MiB, even with its rows streamed from Parquet; a worker alone takes ",
        " MiB: use a higher limit",
    ]),
    ("cuda", 4, keys("runtime", backend="cuda"), [
        "backend = 'cuda': CuPy cannot be imported", "pip install", "use backend = 'auto'",
    ]),
    ("scheduler", 4, keys("runtime", cluster="tcp://127.0.0.1:1"), [
        "runtime.cluster = 'tcp://127.0.0.1:1': no scheduler answers", "start one with",
    ]),
]  # fmt: skip


def refused(outcome: Outcome, code: int, words: list[str]) -> None:
    assert "Traceback" not in outcome.err
    assert outcome.code == code, outcome.err
    assert [word for word in words if word not in outcome.err] == [], outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("code", "change", "words"),
    [
        *(pytest.param(*case[1:], id=case[0]) for case in CASES),
        pytest.param(
            3, column("customer", [[i] for i in range(600)]), ["input.id", "customer", "list"],
            id="id is a list",
        ),
    ],
)  # fmt: skip
def test_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str],
    code: int, change: Change, words: list[str],
) -> None:  # fmt: skip
    scene = Scene(tmp_path)
    change(scene)
    file = scene.write()
    before = listing(tmp_path)
    outcome = call(capfd, "run", file)
    refused(outcome, code, words)
    assert sum(line.startswith("error: ") for line in outcome.err.splitlines()) == 1
    assert listing(tmp_path) == before


def test_older_output_is_in_the_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = Scene(tmp_path).write()
    assert call(capfd, "run", file).code == 0
    refused(call(capfd, "run", file), 2, ["/out'", "exists already", "--overwrite"])
    assert call(capfd, "run", file, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.toml"], ["none.toml: no such job file; give the path of a TOML file"]),
        (["run", "JOB", "--set", "n_clusters=3"], ["--set 'n_clusters=3'", "section.key=value"]),
        (["run", "JOB", "--set", "input.id.x=3"], ["'id' is a value, not a section"]),
        (["run", "JOB", "--dry-run", "--set", "input.x=3"], ["input.x: unknown key", "known are"]),
        (["synth", "DIR", "--rows", "0"], ["rows = 0", "at least 1"]),
        (["frob"], ["No such command 'frob'"]),
        (["--frob"], ["No such option: --frob"]),
        (["run"], ["JOB.toml"]),
        (["run", "JOB", "--frob"], ["--frob"]),
        (["run", "JOB", "--set"], ["--set"]),
        (["run", "JOB", "again.toml"], ["again.toml"]),
        (["synth", "DIR", "--rows", "many"], ["--rows", "valid integer"]),
    ],
)
def test_command_line_is_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    places = {"JOB": str(Scene(tmp_path).write()), "DIR": str(tmp_path / "synth")}
    before = listing(tmp_path)
    outcome = call(capfd, *(places.get(argument, argument) for argument in arguments))
    refused(outcome, 2, words)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["run", "none.toml"], 2, "none.toml"),
        (["run", "JOB", "--set", "input.path=none"], 3, "none"),
        (["run", "JOB", "--set", "runtime.backend=cuda"], 4, "cuda"),
        (["frob"], 2, "frob"),
    ],
)
def test_exit_code_reaches_the_shell(
    tmp_path: Path, arguments: list[str], code: int, word: str
) -> None:
    file = str(Scene(tmp_path).write())
    outcome = shell(tmp_path, *(file if a == "JOB" else a for a in arguments))
    refused(outcome, code, [word])
