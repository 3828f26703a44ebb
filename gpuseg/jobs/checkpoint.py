"""The checkpoint of a run: whether it goes on with an interrupted one, and what it leaves behind.

A checkpoint lies in the folder of the run (`io.output.run_folder`): ``checkpoint/run.json`` says
which run it is of, and ``checkpoint/journal`` has the results of its calls (`runtime.journal`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from gpuseg.errors import ConfigError, GpusegError
from gpuseg.io.output.base import OUTPUT_PATH, RUN_ID, cannot_write, manifest_of
from gpuseg.io.output.run_folder import CHECKPOINT, LOCK, RunFolder
from gpuseg.io.output.run_lock import RunLock
from gpuseg.io.storage import Storage
from gpuseg.jobs.resume_key import OF_THE_INPUT, difference
from gpuseg.runtime.checkpoint_folder import CheckpointFolder
from gpuseg.runtime.executor import Executor
from gpuseg.runtime.forced_end import remove_if_forced
from gpuseg.runtime.interrupts import code_of_interrupt, is_paused
from gpuseg.runtime.journal.executor import JournaledExecutor
from gpuseg.runtime.journal.journal import Journal, LocalJournal, ObjectJournal
from gpuseg.runtime.machine_start import machine_start

_RUN = f"{CHECKPOINT}/run.json"
_JOURNAL = f"{CHECKPOINT}/journal"

_CODES_TO_RESUME_AFTER = ("worker.", "cluster.", "tasks.", "ranks.", "checkpoint.other")
"""Starts of the codes of errors that end an attempt, and not the run."""

_FORMAT = 1


@dataclass(frozen=True)
class RunRecord:
    """Which run a checkpoint is of.

    Attributes
    ----------
    run_id, started : str
    staging : str
        Name of the folder of the staged output.
    attempt : int
        Number of the last attempt, from 1 on.
    machine : str
        The machine of that attempt.
    is_closed : bool
        Whether that attempt has closed all its files.
    key : mapping of str to str
        See `jobs.resume_key`.
    """

    run_id: str
    started: str
    staging: str
    attempt: int
    machine: str
    is_closed: bool
    key: Mapping[str, str] = field(default_factory=dict)
    format: int = _FORMAT


class Checkpoint:
    """The checkpoint of this attempt; it is made by `open_checkpoint`.

    Parameters
    ----------
    folder : RunFolder
    key : mapping of str to str
        That of the job.
    older : RunRecord or None
        Of the attempt that this one goes on with.
    run_id : str
    started : datetime

    Attributes
    ----------
    run_id : str
    started : datetime
    attempt : int
    is_kept : bool
        Whether it is left to the next attempt.
    adopted : str or None
        Name of the staging folder of the attempt that this one goes on with.
    """

    def __init__(
        self,
        folder: RunFolder,
        key: Mapping[str, str],
        older: RunRecord | None,
        run_id: str,
        started: datetime,
    ) -> None:
        self._folder, self._key, self._older = folder, dict(key), older
        self._record: RunRecord | None = None
        self.is_kept = False
        self.journal = _journal(folder)
        self.run_id, self.started, self.attempt, self.adopted = run_id, started, 1, None
        if older is not None:
            self.run_id, self.started = older.run_id, datetime.fromisoformat(older.started)
            self.attempt, self.adopted = older.attempt + 1, older.staging

    def begin(self, input_key: Mapping[str, str], staging: str) -> None:
        """Record which run this is, once its input is known.

        Parameters
        ----------
        input_key : mapping of str to str
            See `jobs.resume_key.key_of_input`.
        staging : str
            Name of the folder of the staged output.

        Raises
        ------
        ConfigError
            If the input is not that of the attempt that this one goes on with.
        ResourceError
            If it cannot be written.
        """
        self._key |= input_key
        if self._older is not None:
            _refuse_other(self._older, self._key, self._folder.target)
        record = RunRecord(
            self.run_id, self.started.isoformat(), staging, self.attempt, machine_start(), False,
            self._key,
        )  # fmt: skip
        try:
            self._write(record)
        except OSError as error:
            raise cannot_write(self._folder.path, error) from None

    def make_folder(self, name: str) -> str | None:
        """Return a folder that outlives an interruption; None where the output is no local one."""
        if not self._folder.is_local:
            return None
        _make(self._folder, f"{CHECKPOINT}/{name}")
        return self._folder.file(f"{CHECKPOINT}/{name}")

    def executor(
        self, executor: Executor, log: Callable[[str], None], placeholders: Mapping[str, str]
    ) -> JournaledExecutor:
        """Return an executor that goes on with the recorded calls, and records the next ones."""
        older, folder = self._older, self._folder
        trusts_files = older is None or older.is_closed or older.machine == machine_start()
        kept = CheckpointFolder(folder.fs, folder.file(CHECKPOINT), folder.is_local)
        return JournaledExecutor(executor, self.journal, kept, log, placeholders, trusts_files)

    @property
    def has_progress(self) -> bool:
        """Whether there is anything that the next attempt could go on with."""
        return self.adopted is not None or self.journal.n_frames > 0

    def keep(self) -> None:
        """Leave the checkpoint to the next attempt."""
        self.is_kept = True

    def end(self) -> None:
        """Close the checkpoint, and remove it unless it is kept."""
        self.journal.close()
        if self.is_kept:
            if self._record is not None:
                with suppress(OSError):  # then the next attempt trusts less
                    self._write(replace(self._record, is_closed=True))
            return
        self._folder.remove(CHECKPOINT)

    def _write(self, record: RunRecord) -> None:
        self._record = record
        self._folder.write(_RUN, json.dumps(asdict(record)).encode())


@contextmanager
def open_checkpoint(
    target: Storage, key: Mapping[str, str], fresh: bool, run_id: str, started: datetime
) -> Iterator[Checkpoint]:
    """Take over the checkpoint of an interrupted attempt of this run, or begin one.

    Parameters
    ----------
    target : Storage
        The output.
    key : mapping of str to str
        That of the job, see `jobs.resume_key`.
    fresh : bool
        Whether a checkpoint that is there is dropped.
    run_id : str
    started : datetime

    Raises
    ------
    ConfigError
        If there is the checkpoint of another job.
    ResourceError
        If another run of the same output is alive, or the folder cannot be written.
    """
    folder = RunFolder(target)
    with ExitStack() as stack:
        try:
            lock = RunLock(folder)
        except OSError as error:
            folder.remove_if_empty()
            raise cannot_write(folder.path, error) from None
        stack.callback(_leave, folder, lock)
        older = None if fresh else interrupted_run(target)
        if older is None:
            folder.remove(CHECKPOINT)
            _make(folder, CHECKPOINT)
        else:
            unknown = {name: older.key[name] for name in OF_THE_INPUT if name in older.key}
            _refuse_other(older, {**key, **unknown}, folder.target)
        checkpoint = Checkpoint(folder, key, older, run_id, started)
        stack.callback(checkpoint.end)
        stack.callback(remove_if_forced(lambda: _end_by_force(checkpoint)))
        yield checkpoint


def recorded_key(target: Storage) -> Mapping[str, str]:
    """Return the key of an interrupted run of an output; empty if there is none."""
    record = interrupted_run(target)
    return {} if record is None else record.key


def is_resumable(error: BaseException) -> bool:
    """Whether the next attempt can go on with what a run has done before it ended like this."""
    if code_of_interrupt() is not None:
        return is_paused()
    return isinstance(error, GpusegError) and error.code.startswith(_CODES_TO_RESUME_AFTER)


def _end_by_force(checkpoint: Checkpoint) -> None:
    if is_paused() and checkpoint.has_progress:
        checkpoint.keep()
    checkpoint.end()


def _make(folder: RunFolder, name: str) -> None:
    """Create a folder in the folder of the run.

    Raises
    ------
    ResourceError
    """
    try:
        folder.make(name)
    except OSError as error:
        raise cannot_write(folder.path, error) from None


def _leave(folder: RunFolder, lock: RunLock) -> None:
    """Free the lock; remove the folder if nothing is left in it."""
    is_empty = not set(folder.names()) - {LOCK}
    lock.release()
    if is_empty:
        folder.remove_if_empty()


def interrupted_run(target: Storage) -> RunRecord | None:
    """Return the record of an attempt that was interrupted; None if there is none to go on with."""
    folder = RunFolder(target)
    record = _record(folder)
    if record is None or _is_published(record, target):
        return None
    is_staged = not folder.is_local or Path(folder.path).with_name(record.staging).is_dir()
    return record if is_staged else None


def published_run(target: Storage) -> RunRecord | None:
    """Return the record of a run that ended after it had published, and before it removed this."""
    record = _record(RunFolder(target))
    return record if record is not None and _is_published(record, target) else None


def _record(folder: RunFolder) -> RunRecord | None:
    """Return the record in a folder; None if there is none of this format, or it is damaged."""
    try:
        values: dict[str, Any] = json.loads(folder.read(_RUN) or b"")
        record = RunRecord(**values)
        datetime.fromisoformat(record.started)
        is_intact = RUN_ID.fullmatch(record.run_id) and isinstance(record.key, Mapping)
        is_staging = record.staging.endswith(record.run_id) and "/" not in record.staging
    except (AttributeError, TypeError, ValueError):
        return None
    return record if is_intact and is_staging and record.format == _FORMAT else None


def _is_published(record: RunRecord, target: Storage) -> bool:
    is_in_place = manifest_of(target).get("run_id") == record.run_id
    return is_in_place and not RunFolder(target).exists(f"{CHECKPOINT}/publishing")


def _refuse_other(record: RunRecord, key: Mapping[str, str], shown: str) -> None:
    """Refuse to go on with the checkpoint of another job.

    Raises
    ------
    ConfigError
    """
    differs = difference(record.key, key)
    if differs is not None:
        raise ConfigError(
            "checkpoint.other_job",
            f"an interrupted run of this output cannot go on: {differs}",
            value=shown,
            rule="a run goes on only with the same job, the same input and the same version",
            hint="to start from the beginning, add --fresh (in Python fresh=True); to finish the "
            "interrupted run, run it again as it was",
            parameter=OUTPUT_PATH,
        )


def _journal(folder: RunFolder) -> Journal:
    if folder.is_local:
        return LocalJournal(Path(folder.file(_JOURNAL)))
    return ObjectJournal(folder, _JOURNAL)
