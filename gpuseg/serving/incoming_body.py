"""The body of a request, as it arrives."""

import asyncio
from collections.abc import Callable

from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.request_errors import RequestError

_SMALL_BYTES = 2**12


class IncomingBody:
    """Collects the pieces of a body until it is read.

    Parameters
    ----------
    announced : int or None
        Its bytes, if the request says how many.
    limits : RequestLimits
    when_wanted : callable
        Called when somebody waits for the rest of the body.

    Attributes
    ----------
    n_bytes : int
        That have arrived.
    is_complete : bool
    is_wanted : bool
        Whether somebody reads, or has read, the body.
    """

    def __init__(
        self, announced: int | None, limits: RequestLimits, when_wanted: Callable[[], None]
    ) -> None:
        self._announced, self._limits, self._when_wanted = announced, limits, when_wanted
        self._parts: list[bytes] = []
        self._small = bytearray()
        """Small pieces behind the others: each by itself would take many times its bytes."""
        self._reader: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.n_bytes = 0
        self.is_complete = self.is_wanted = False

    def add(self, part: bytes) -> None:
        """Take the next piece."""
        if len(part) < _SMALL_BYTES:
            self._small += part
        else:
            self._keep_small()
            self._parts.append(part)
        if len(self._small) >= _SMALL_BYTES:
            self._keep_small()
        self.n_bytes += len(part)
        if self.n_bytes > self._limits.body_bytes:
            self._wake(self._limits.too_large())

    def end(self) -> None:
        """Say that there are no more pieces."""
        self.is_complete = True
        self._wake(None)

    def fail(self, error: Exception) -> None:
        """Say why there will be no more pieces."""
        self._error = error
        self._wake(error)

    async def read(self) -> bytes:
        """Return the body, when it is complete.

        Raises
        ------
        RequestError
            For a body that is too long, comes too slowly, or is not HTTP.
        Disconnected
        """
        if self._error is not None:
            raise self._error
        limit = self._limits.body_bytes
        if (self._announced or 0) > limit or self.n_bytes > limit:
            raise self._limits.too_large()
        self.is_wanted = True
        if not self.is_complete:
            await self._rest()
        self._keep_small()
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _keep_small(self) -> None:
        if self._small:
            self._parts.append(bytes(self._small))
            self._small = bytearray()

    async def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        self._reader = loop.create_future()
        timer = loop.call_later(self._limits.seconds, self._wake, self._too_slow())
        self._when_wanted()
        try:
            await self._reader
        finally:
            timer.cancel()

    def _wake(self, error: Exception | None) -> None:
        if self._reader is None or self._reader.done():
            return
        if error is None:
            self._reader.set_result(None)
        else:
            self._reader.set_exception(error)

    def _too_slow(self) -> RequestError:
        return RequestError(
            408,
            "request.too_slow",
            f"the body did not arrive within {self._limits.seconds:g} seconds",
            closes=True,
        )
