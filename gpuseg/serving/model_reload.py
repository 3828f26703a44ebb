"""Take the model of a new output while the old one goes on answering."""

import asyncio
from concurrent.futures import Executor
from threading import Lock

from gpuseg.errors import GpusegError
from gpuseg.serving.failure_log import FailureLog
from gpuseg.serving.loaded_model import LoadedModel
from gpuseg.serving.metrics import Metrics
from gpuseg.serving.output_watch import OutputVersion, OutputWatch

_MOST_SECONDS = 60.0
"""Longest pause before an output that was refused is tried again."""


class CurrentModel:
    """The model that new requests get.

    A request keeps the model that it began with. `watch` puts another in its place, in one step.

    Parameters
    ----------
    watch : OutputWatch
    log : FailureLog
    metrics : Metrics

    Attributes
    ----------
    model : LoadedModel
    """

    def __init__(self, watch: OutputWatch, log: FailureLog, metrics: Metrics) -> None:
        self._watch, self._log, self._metrics = watch, log, metrics
        self._version = watch.version()
        self._end = Lock()
        self._end.acquire()
        self._use(watch.load())

    def _use(self, model: LoadedModel) -> None:
        self.model = model
        self._metrics.use_model(model.run_id)

    async def watch(self, executor: Executor, seconds: float) -> None:
        """Look for a new output again and again, and take it.

        An output that cannot be read is refused: a line of the log says why, once, and it is tried
        again after a while, since it may have been half written.
        """
        loop = asyncio.get_running_loop()
        try:
            await self._watch_for_ever(loop, executor, seconds)
        finally:
            self._end.release()

    async def _watch_for_ever(
        self, loop: asyncio.AbstractEventLoop, executor: Executor, seconds: float
    ) -> None:
        refused: OutputVersion | None = None
        reason, pause, next_try = "", seconds, 0.0
        while True:
            version = await loop.run_in_executor(executor, self._other_version, seconds)
            if version is None:
                return
            if version == refused and loop.time() < next_try:
                continue
            pause = min(2 * pause, _MOST_SECONDS) if version == refused else seconds
            try:
                model = await loop.run_in_executor(executor, self._watch.load)
            except GpusegError as error:
                if reason != error.code or version != refused:
                    self._log.write(f"a new output is not taken: {error}")
                    self._metrics.count_reload("refused")
                refused, reason, next_try = version, error.code, loop.time() + pause
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, the old model is good
                self._log.write(f"a new output is not taken: {type(error).__name__}")
                self._metrics.count_reload("refused")
                refused, reason, next_try = version, "", loop.time() + pause
                continue
            self._version, refused = version, None
            more = needs_more(self.model, model)
            self._use(model)
            self._metrics.count_reload("taken")
            self._log.write(f"run {model.run_id} is taken{more}")

    def _other_version(self, seconds: float) -> OutputVersion | None:
        """Wait for a version other than that of the model; return None at the end of the server.

        The thread itself waits: each time that it gives a version to the event loop, the two take
        the interpreter from each other for milliseconds, which requests would wait.
        """
        while not self._end.acquire(timeout=seconds):
            version = self._watch.version()
            if version not in (None, self._version):
                return version
        return None


def needs_more(before: LoadedModel, after: LoadedModel) -> str:
    """Return what a log says of a model whose rows need columns that the one before did not need.

    Clients that do not know of them get errors.
    """
    known = {column.name for column in before.columns}
    new = [repr(column.name) for column in after.columns if column.name not in known]
    return f"; rows now need {', '.join(new)}, too" if new else ""
