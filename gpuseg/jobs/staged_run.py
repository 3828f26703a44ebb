"""The output of a run while it works, and its checkpoint."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

from gpuseg.io.output.base import Output
from gpuseg.io.output.open import open_output
from gpuseg.io.storage import Storage
from gpuseg.jobs.checkpoint import Checkpoint, is_resumable, open_checkpoint
from gpuseg.jobs.resolve import ResolvedJob
from gpuseg.jobs.resume_key import key_of_job
from gpuseg.jobs.run_sections import RunSections
from gpuseg.jobs.text_inputs import STAGED
from gpuseg.output_kind import OutputKind
from gpuseg.runtime.temporary_folder import temporary_folder


class StagedRun:
    """Stages the output of a run and opens its checkpoint, each when it is first asked for.

    A plan resolves where the output is. Its later steps may already need a folder there.

    Parameters
    ----------
    sections, kind, replaces, fresh, key
        As in `open_sections`.
    life : ExitStack
        Closes the checkpoint; it must exit after `stack`.
    stack : ExitStack
        Closes the output.

    Attributes
    ----------
    run_id : str
        A new one; where the run goes on, that of its first attempt once the checkpoint is open.
    started : datetime
        Likewise.
    placeholders : dict of str to str
        What the journal records for folders of this attempt, whose paths differ in the next.
    """

    def __init__(
        self,
        sections: RunSections,
        kind: OutputKind,
        replaces: Collection[OutputKind],
        fresh: bool,
        key: Mapping[str, Any] | None,
        life: ExitStack,
        stack: ExitStack,
    ) -> None:
        self.started = datetime.now(UTC)
        self.run_id = f"{self.started:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
        self.placeholders: dict[str, str] = {}
        self._sections, self._kind, self._replaces = sections, kind, replaces
        self._fresh, self._key = fresh, key
        self._life, self._stack = life, stack
        self._checkpoint: Checkpoint | None = None
        self._output: Output | None = None

    def checkpoint(self, target: Storage) -> Checkpoint | None:
        """Return the checkpoint of the run to its output; None for a run that is not resumed.

        Raises
        ------
        ConfigError, ResourceError
            Those of `open_checkpoint`.
        """
        if self._key is None or self._checkpoint is not None:
            return self._checkpoint
        key = key_of_job(self._sections, {"the output": self._kind, **self._key})
        opened = open_checkpoint(target, key, self._fresh, self.run_id, self.started)
        checkpoint = self._checkpoint = self._life.enter_context(opened)
        self.run_id, self.started = checkpoint.run_id, checkpoint.started
        return checkpoint

    def output(self, target: Storage) -> Output:
        """Return the staged output.

        Raises
        ------
        ConfigError, ResourceError
            Those of `open_output`.
        """
        if self._output is None:
            checkpoint = self.checkpoint(target)
            adopted = None if checkpoint is None else checkpoint.adopted
            overwrite = self._sections.output.overwrite
            opened = open_output(
                target, overwrite, self.run_id, self._kind, self._replaces, adopted
            )
            output = self._output = self._stack.enter_context(opened)
            if checkpoint is not None:
                self._stack.push(partial(_keep_if_resumable, checkpoint, output))
        return self._output

    def make_folder(self, resolved: ResolvedJob) -> Storage:
        """Make a folder for converted files that all workers can read."""
        if resolved.cluster.is_on_this_machine:
            checkpoint = self.checkpoint(resolved.target)
            folder = None if checkpoint is None else checkpoint.make_folder(STAGED)
            if folder is None:
                folder = self._stack.enter_context(temporary_folder())
            self.placeholders[folder] = STAGED
            return Storage.from_url(folder, {}, "folder")
        staging = self.output(resolved.target).staging
        staging.make(STAGED)
        return Storage(STAGED, staging.storage.fs, staging.path(STAGED))


def _keep_if_resumable(
    checkpoint: Checkpoint, output: Output, kind: object, error: BaseException | None, trace: object
) -> None:
    """Keep what the run has done if the next attempt can go on with it."""
    if error is not None and checkpoint.has_progress and is_resumable(error):
        checkpoint.keep()
        output.keep()
