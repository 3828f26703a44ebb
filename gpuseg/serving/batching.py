"""Score the rows of requests that arrive together in one call.

A call costs about as much for a hundred rows as for one. Requests that the event loop takes from
their sockets in one round are scored at the end of the round: a request that is alone waits for
nobody, and one of many waits for those that were there already.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gpuseg.serving.loaded_model import LoadedModel, RequestScores, split
from gpuseg.serving.request_rows import RequestRows

MAX_ROWS = 256
"""Most rows of a request that waits for others, and of a batch."""


class MicroBatcher:
    """Collects rows for the models that their requests began with.

    Parameters
    ----------
    loop : asyncio event loop
    count : callable
        Takes what became of the rows of each batch.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, count: Callable[[RequestScores], None]
    ) -> None:
        self._loop, self._count = loop, count
        self._waiting: list[_Waiting] = []

    def score(
        self, model: LoadedModel, rows: RequestRows, *, with_next: bool
    ) -> "asyncio.Future[RequestScores]":
        """Return the scores of rows, at the end of this round of the event loop."""
        if not self._waiting:
            self._loop.call_soon(self._score_waiting)
        result: asyncio.Future[RequestScores] = self._loop.create_future()
        self._waiting.append(_Waiting(model, rows, with_next, result))
        return result

    def _score_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            first, n_rows = waiting[0], 0
            together: list[_Waiting] = []
            for item in waiting:
                n_rows += len(item.rows.rows)
                if not item.is_like(first) or (together and n_rows > MAX_ROWS):
                    break
                together.append(item)
            del waiting[: len(together)]
            self._score_together(together)

    def _score_together(self, together: "Sequence[_Waiting]") -> None:
        first = together[0]
        rows = RequestRows(
            [row for item in together for row in item.rows.rows], first.rows.are_numbers
        )
        with_next = any(item.with_next for item in together)
        try:
            scored = first.model.score(rows, with_next=with_next)
            self._count(scored)
            parts = list(split(scored, [len(item.rows.rows) for item in together]))
        except Exception as error:  # noqa: BLE001 - the request answers with it
            if len(together) > 1:  # the other requests have nothing to do with it
                for item in together:
                    self._score_together([item])
            elif not first.result.done():
                first.result.set_exception(error)
            return
        for item, part in zip(together, parts, strict=True):
            if not item.result.done():  # its client may have gone
                item.result.set_result(part)


class _Waiting(NamedTuple):
    """Rows of a request, and where their scores go."""

    model: LoadedModel
    rows: RequestRows
    with_next: bool
    result: "asyncio.Future[RequestScores]"

    def is_like(self, other: "_Waiting") -> bool:
        """Return whether both can be scored in one call."""
        return self.model is other.model and self.rows.are_numbers == other.rows.are_numbers
