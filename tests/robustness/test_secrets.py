"""No secret and, where ids are hashed, no id is in anything that is printed or written."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.helpers import THOROUGH, call, customers, in_turn, toml

pytestmark = pytest.mark.slow

SECRET = "hunter2-SECRET"
KEY = "a key of at least sixteen characters"
RAW = "raw-id-"


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve files; return the URL of their folder, with a login."""
    folder = tmp_path_factory.mktemp("web")
    pq.write_table(customers(), folder / "customers.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1 but nothing else PAR1")
    (folder / "lines.csv").write_text("".join(_lines(30)))
    pq.write_table(
        pa.table({"who": [f"{RAW}{i}" for i in range(10)], "age": np.arange(10.0)}),
        folder / "ages.parquet",
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://user:{SECRET}@127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _lines(count: int) -> Iterator[str]:
    yield "who,at,paid\n"
    for i in range(count):
        yield f"{RAW}{i % 10},2026-01-{1 + i % 28:02},{i % 7 + 1}\n"


def everything(outcome: Any, folder: Path) -> str:
    """Return all that a command printed, and all in a folder, as text."""
    texts = [outcome.out, outcome.err]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        texts += [path.name, content.decode("latin-1")]
        if content[:4] == b"PAR1":
            texts.append(str(pq.read_table(path).to_pydict()))
    return "\n".join(texts)


def check_nothing_is_shown(
    folder: Path, capfd: pytest.CaptureFixture[str], command: str, job: dict[str, Any], code: int,
    out: str = "out",
) -> None:  # fmt: skip
    """Run a job; check that neither raw ids nor the key are in what it prints and writes."""
    job["output"] = {"path": str(folder / "all" / out)}
    (folder / "job.toml").write_text(toml(job))
    (folder / "all").mkdir(exist_ok=True)
    outcome = call(capfd, command, folder / "job.toml")
    assert outcome.code == code, outcome.err
    shown = everything(outcome, folder / "all")
    assert RAW not in shown and KEY not in shown


def segments(path: str, **keys: Any) -> dict[str, Any]:
    source = {"path": path, "id": "customer", **keys}
    return {"input": source, "segment": {"n_clusters": 2}}


def transactions(path: str, **keys: Any) -> dict[str, Any]:
    roles = {"path": path, "customer": "who", "time": "at", "amount": "paid", **keys}
    return {"transactions": roles, "segment": {"n_clusters": 2}}


URL_JOBS = {
    "done": (0, "customers.parquet", segments),
    "lines": (0, "lines.csv", transactions),
    "broken": (3, "broken.parquet", segments),
    "missing": (3, "nothing.parquet", segments),
    "no such column": (3, "customers.parquet", partial(segments, features=["nothing"])),
    "no such time": (3, "lines.csv", partial(transactions, time="when")),
    "wrong option": (
        3, "customers.parquet", partial(segments, storage_options={"api_key": SECRET}),
    ),
    "options are text": (2, "customers.parquet", partial(segments, storage_options=SECRET)),
    "options are a list": (2, "customers.parquet", partial(segments, storage_options=[[SECRET]])),
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "file", "make", "arguments"),
    [
        *((*case, ["--dry-run"]) for case in URL_JOBS.values()),
        *(
            (*URL_JOBS["done"], arguments)
            for arguments in ([], ["--json"], ["--dry-run", "--json"])
        ),
        (*URL_JOBS["lines"], []),
    ],
)
def test_secrets_of_urls_and_options(
    web: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], code: int, file: str, make: Any,
    arguments: list[str],
) -> None:  # fmt: skip
    """The job file itself is the user's, and is not among the files that are searched."""
    job = make(f"{web}/{file}?sig={SECRET}")
    job["output"] = {"path": str(tmp_path / "all" / "out")}
    (tmp_path / "job.toml").write_text(toml(job))
    (tmp_path / "all").mkdir()
    outcome = call(capfd, "run", tmp_path / "job.toml", *arguments)
    assert outcome.code == code, outcome.err
    assert SECRET not in everything(outcome, tmp_path / "all")


@pytest.mark.parametrize(
    "override",
    [
        f"input.storage_options.a.b={SECRET}", f"input.storage_options={SECRET}",
        f"input.storage_options {SECRET}", f"output.path=nosuch://u:{SECRET}@host/x",
        f"output.path=http://u:{SECRET}@127.0.0.1:9/x?{SECRET}",
        f"runtime.cluster=tcp://u:{SECRET}@127.0.0.1:1", f"input.pth=https://{SECRET}@host",
    ],
)  # fmt: skip
def test_secrets_of_overrides(
    web: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], override: str
) -> None:
    job = segments(f"{web}/customers.parquet", storage_options={"a": "text"})
    job["output"] = {"path": str(tmp_path / "out")}
    (tmp_path / "job.toml").write_text(toml(job))
    outcome = call(capfd, "run", tmp_path / "job.toml", "--set", override, "--dry-run")
    assert SECRET not in outcome.out + outcome.err


DAMAGE: dict[str, tuple[int, Any]] = {
    "none": (0, lambda text: text),
    "a field too many": (3, lambda text: text.replace(f"{RAW}3,", f"{RAW}3,1,", 1)),
    "a field too few": (3, lambda text: text.replace(f"{RAW}3,", f"{RAW}3", 1)),
    "id as time": (3, lambda text: text.replace(f"{RAW}3,2026-01-04", f"x,{RAW}3", 1)),
    "id as amount": (3, lambda text: text.replace("2026-01-04,4", f"2026-01-04,{RAW}3", 1)),
    "infinite": (3, lambda text: text.replace("2026-01-04,4", "2026-01-04,inf", 1)),
    "open quote": (3, lambda text: text.replace(f"{RAW}3,", f'"{RAW}3,', 1)),
    "ids in the header": (3, lambda text: text.replace("who,at,paid", f"{RAW}1,{RAW}2,3", 1)),
    "Windows-1252": (0, lambda text: text.replace(f"{RAW}3,", f"{RAW}é3,", 1).encode("cp1252")),
    "no encoding": (3, lambda text: text.encode().replace(b"3,", b"\x81\xff3,", 1)),
    "no purchase": (3, lambda text: text.replace("2026", "2027")),
}


@pytest.mark.parametrize(("suffix", "name"), in_turn((".csv", ".csv.gz"), DAMAGE, step=2))
def test_no_raw_id_of_lines(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    suffix: str, name: str,
) -> None:  # fmt: skip
    code, damage = DAMAGE[name]
    monkeypatch.setenv("THE_KEY", KEY)
    text = damage("".join(_lines(60)))
    content = text if isinstance(text, bytes) else text.encode()
    lines = tmp_path / f"lines{suffix}"
    lines.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    job = transactions(str(lines), id_hash_key_env="THE_KEY", snapshot="2026-12-01")
    check_nothing_is_shown(tmp_path, capfd, "features", job, code)


@pytest.mark.parametrize("damage", ["none", "id as time", *["a field too many"] * THOROUGH])
def test_no_raw_id_of_workers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    code, damaged = DAMAGE[damage]
    (tmp_path / "lines.csv").write_text(damaged("".join(_lines(60))))
    job = transactions(str(tmp_path / "lines.csv"), id_hash_key_env="THE_KEY")
    job["runtime"] = {"cluster": "dask", "n_workers": 1}
    check_nothing_is_shown(tmp_path, capfd, "run", job, code)


def test_no_raw_id_of_a_joined_table(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    (tmp_path / "lines.csv").write_text("".join(_lines(60)))
    for i, (code, text) in enumerate(
        [(0, f"who,age\n{RAW}1,5\n"), (3, f"{RAW}1,5\n{RAW}2,6\n"), (3, f"who,age\n{RAW}1,5,6\n")]
    ):
        (tmp_path / "ages.csv").write_text(text)
        job = transactions(str(tmp_path / "lines.csv"), id_hash_key_env="THE_KEY")
        job["join"] = [{"path": str(tmp_path / "ages.csv"), "id": "who"}]
        check_nothing_is_shown(tmp_path, capfd, "features", job, code, f"out-{i}")


IDS = [f"{RAW}{i % 50}" for i in range(60)]

TABLES: dict[str, tuple[int, pa.Table, dict[str, Any]]] = {
    "done": (0, pa.table({"customer": IDS, "a": np.arange(60.0)}), {}),
    "first of duplicates": (
        0, pa.table({"customer": IDS, "a": np.arange(60.0)}), {"prepare": {"duplicates": "first"}},
    ),
    "duplicates": (
        3, pa.table({"customer": IDS, "a": np.arange(60.0)}), {"prepare": {"duplicates": "error"}},
    ),
    "missing": (3, pa.table({"customer": IDS, "a": [*range(59), None]}), {}),
    "infinite": (3, pa.table({"customer": IDS, "a": [*range(59), np.inf]}), {}),
    "id as feature": (
        3, pa.table({"customer": IDS, "a": IDS}), {"input": {"features": ["a"]}},
    ),
    "a customer's values are text": (
        0, pa.table({"customer": pa.array(IDS).dictionary_encode(), "a": np.arange(60.0)}), {},
    ),
    "missing id": (0, pa.table({"customer": [*IDS[:-1], None], "a": np.arange(60.0)}), {}),
}  # fmt: skip


@pytest.mark.parametrize(("code", "table", "sections"), TABLES.values(), ids=TABLES)
def test_no_raw_id_of_rows(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    code: int, table: pa.Table, sections: dict[str, Any],
) -> None:  # fmt: skip
    monkeypatch.setenv("THE_KEY", KEY)
    pq.write_table(table, tmp_path / "in.parquet")
    job = segments(str(tmp_path / "in.parquet"), id_hash_key_env="THE_KEY")
    job["output"] = {"path": str(tmp_path / "all" / "out"), "plots": True}
    for section, keys in sections.items():
        job[section] = {**job.get(section, {}), **keys}
    (tmp_path / "job.toml").write_text(toml(job))
    (tmp_path / "all").mkdir()
    outcome = call(capfd, "run", tmp_path / "job.toml")
    assert outcome.code == code, outcome.err
    shown = everything(outcome, tmp_path / "all")
    assert RAW not in shown and KEY not in shown
