"""The journal of calls: what is recorded, what counts, and what is made again."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpuseg.io.output.run_folder import RunFolder
from gpuseg.io.storage import Storage
from gpuseg.runtime.executor import CacheLost, LocalExecutor, TaskContext
from gpuseg.runtime.journal.executor import JournaledExecutor
from gpuseg.runtime.journal.fingerprint import CallFingerprint
from gpuseg.runtime.journal.journal import Journal, LocalJournal, ObjectJournal
from gpuseg.runtime.record_pickle import loads
from gpuseg.runtime.varies_by_run import AnyId


@dataclass
class Counter:
    """A shard: a number, and the calls that it has seen."""

    value: int
    cache: dict[str, int] = field(default_factory=dict)


CALLS: list[str] = []


def build(plan: int, context: TaskContext) -> Counter:
    CALLS.append("build")
    return Counter(plan)


def add(shard: Counter, context: TaskContext, n: int, id: str = "") -> int:
    CALLS.append(f"add {n}")
    shard.value += n
    return shard.value


def read(shard: Counter, context: TaskContext, id: str = "") -> Any:
    CALLS.append("read")
    return np.array([shard.value])


def keep(shard: Counter, context: TaskContext) -> None:
    CALLS.append("keep")
    shard.cache["kept"] = shard.value


def kept(shard: Counter, context: TaskContext) -> int:
    CALLS.append("kept")
    if "kept" not in shard.cache:
        raise CacheLost
    return shard.cache["kept"]


def calls_of(act: Callable[[], Any]) -> list[str]:
    CALLS.clear()
    act()
    return list(CALLS)


def job(executor: JournaledExecutor, until: int = 99) -> list[int]:
    """Make some calls, the first `until` of them."""
    seen: list[int] = []
    steps: list[Callable[[], Any]] = [
        lambda: seen.append(len(executor.workers())),
        lambda: executor.load(build, [1, 2]),
        lambda: seen.extend(executor.apply(add, 10)),
        lambda: seen.extend(int(x[0]) for x in executor.map(read, AnyId(str(id(seen))))),
        lambda: seen.extend(executor.apply(add, per_shard=[100, 200])),
        lambda: seen.extend(int(x[0]) for x in executor.map(read)),
    ]
    for step in steps[:until]:
        step()
    return seen


JOB = [1, 11, 12, 11, 12, 111, 212, 111, 212]


def on_disk(folder: Path) -> Journal:
    return LocalJournal(folder / "journal")


@pytest.fixture(params=["local", "object store"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Opens the journal, as each attempt does."""
    if request.param == "local":
        yield partial(on_disk, tmp_path)
        return
    memory = request.getfixturevalue("memory")
    assert memory is not None
    folder = RunFolder(Storage.from_url("memory://gpuseg-test/out", {}, "output_path"))
    yield lambda: ObjectJournal(folder, "checkpoint/journal")


def attempt(journal: Journal, until: int = 99) -> JournaledExecutor:
    executor = JournaledExecutor(LocalExecutor(1), journal)
    job(executor, until)
    journal.close()
    return executor


def test_each_attempt_goes_on_where_the_last_one_ended(journal: Callable[[], Journal]) -> None:
    for until, taken in ((2, 0), (4, 2), (4, 4), (5, 4)):
        assert attempt(journal(), until).n_taken == taken
    # The shards are built before the first call that was not recorded, and no read is repeated.
    calls = ["build"] * 2 + ["add 10"] * 2 + ["add 100", "add 200"] + ["read"] * 2
    assert calls_of(lambda: attempt(journal())) == calls
    executor = JournaledExecutor(LocalExecutor(1), journal())
    assert calls_of(lambda: CALLS.extend(map(str, job(executor)))) == list(map(str, JOB))
    assert (executor.n_taken, executor.n_made) == (6, 0)


def test_another_call_cuts_the_journal(journal: Callable[[], Journal]) -> None:
    attempt(journal())
    notes: list[str] = []
    opened = journal()
    executor = JournaledExecutor(LocalExecutor(1), opened, log=notes.append)
    job(executor, 2)
    calls = calls_of(lambda: executor.apply(add, 11))
    assert calls == ["build"] * 2 + ["add 11"] * 2
    assert len(notes) == 1
    opened.close()
    again = JournaledExecutor(LocalExecutor(1), journal())
    job(again, 2)
    assert again.apply(add, 11) == [12, 13]
    assert (again.n_taken, again.n_made) == (3, 0)
    assert [int(x[0]) for x in again.map(read)] == [12, 13]


@pytest.mark.parametrize("damage", ["torn", "changed"])
def test_damage_ends_the_journal(tmp_path: Path, damage: str) -> None:
    attempt(on_disk(tmp_path))
    file = tmp_path / "journal"
    content = bytearray(file.read_bytes())
    if damage == "torn":
        del content[-3:]
    else:
        content[-3] ^= 1
    file.write_bytes(content)
    executor = attempt(on_disk(tmp_path))
    assert (executor.n_taken, executor.n_made) == (5, 1)
    assert attempt(on_disk(tmp_path)).n_taken == 6
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_length_that_is_damaged_takes_no_memory(tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(b"\xff" * 40)
    assert attempt(on_disk(tmp_path)).n_taken == 0


def test_a_unit_is_recorded_as_a_whole(tmp_path: Path) -> None:
    def unit(executor: JournaledExecutor, fails: bool) -> list[int]:
        executor.load(build, [1])
        with executor.unit():
            executor.map(keep)
            with executor.unit():
                if fails:
                    raise KeyboardInterrupt
            return executor.map(kept)

    first = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        unit(first, True)
    second = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path))
    assert unit(second, False) == [1]
    assert (second.n_taken, second.n_made) == (1, 2)
    third = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path))
    assert unit(third, False) == [1]
    assert (third.n_taken, third.n_made) == (3, 0)


def test_a_lost_cache_makes_the_calls_of_the_attempt_again(tmp_path: Path) -> None:
    def steps(executor: JournaledExecutor) -> list[int]:
        executor.map(keep)
        return executor.map(kept)

    first = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path))
    first.load(build, [1])
    first.map(keep)
    second = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path))
    second.load(build, [1])
    start = second.mark()
    with pytest.raises(CacheLost):
        steps(second)
    second.cut(start)
    assert calls_of(lambda: steps(second)) == ["keep", "kept"]
    third = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path))
    third.load(build, [1])
    assert calls_of(lambda: steps(third)) == []


def test_files_of_a_machine_that_has_failed_are_not_trusted(tmp_path: Path) -> None:
    from gpuseg.io.output.base import Staging

    staging = Staging(Storage.from_url(str(tmp_path), {}, "output_path"), str(tmp_path), "")
    for trusts_files, taken in ((True, 0), (True, 3), (False, 1)):
        executor = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path), trusts_files=trusts_files)
        executor.load(build, [1])
        executor.map(read, staging)  # type: ignore[arg-type]
        executor.map(read)
        assert executor.n_taken == taken


def test_only_values_are_loaded() -> None:
    for name in ("builtins.eval", "os.system", "gpuseg.run", "gpuseg.runtime.executor.prefetch"):
        module, _, function = name.rpartition(".")
        content = b"c" + f"{module}\n{function}\n".encode() + b"."
        with pytest.raises(pickle.UnpicklingError):
            loads(content)


def test_results_that_cannot_be_stored_end_the_record(tmp_path: Path) -> None:
    notes: list[str] = []
    executor = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path), log=notes.append)
    executor.load(build, [1])
    (result,) = executor.map(lambda shard, context: lambda: 1)
    assert result() == 1 and len(notes) == 1
    executor.map(read)
    again = JournaledExecutor(LocalExecutor(1), on_disk(tmp_path))
    again.load(build, [1])
    again.map(read)
    assert (again.n_taken, again.n_made) == (1, 1)


def test_fingerprints_tell_values_apart_and_no_more() -> None:
    def digest(*values: Any) -> bytes:
        return CallFingerprint({"/tmp/a": "folder", "/tmp/b": "folder"}).add(values).digest()

    values = [
        1, 2, 1.5, True, None, "1", b"1", "2", (1, 2), (1, (2,)), {"a": 1}, {"a": 2}, {1, 2},
        np.array([1, 2]), np.array([1.0, 2.0]), np.array([[1, 2]]), np.float32(1), add, read,
        partial(add, n=1), partial(add, n=2), Counter(1), Counter(2), np.array(["a"], object),
    ]  # fmt: skip
    digests = [digest(value) for value in values]
    assert len(set(digests)) == len(values)
    assert digests == [digest(value) for value in values]
    assert digest("/tmp/a/x") == digest("/tmp/b/x") != digest("/tmp/c/x")
    assert digest(AnyId("1")) == digest(AnyId("2"))
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.arange(6).reshape(2, 3).T.copy())
