"""How much one request may ask for, and reading a body within these limits."""

from asyncio import timeout
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from gpuseg.serving.request_errors import Disconnected, RequestError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True)
class RequestLimits:
    """RequestLimits of a server process.

    Attributes
    ----------
    body_bytes : int
        Most bytes of a request's body.
    rows : int
        Most rows of a request.
    seconds : float
        Most seconds from a request's first byte to its last one, and then to its answer.
    requests : int
        Most requests at the same time; further ones get 503.
    header_bytes : int
        Most bytes of the request line and the headers together.
    connections : int
        Most connections at the same time; each takes a file descriptor.
    """

    body_bytes: int = 2**25
    rows: int = 100_000
    seconds: float = 30.0
    requests: int = 256
    header_bytes: int = 2**15
    connections: int = 900

    def check_rows(self, n_rows: int) -> None:
        """Refuse too many rows.

        Raises
        ------
        RequestError
        """
        if n_rows > self.rows:
            raise RequestError(
                413,
                "request.too_many_rows",
                f"a request may have {self.rows:,} rows; send the others in further requests",
            )

    def too_large(self) -> RequestError:
        """Return the error of a body that is too long."""
        return RequestError(
            413,
            "request.too_large",
            f"a body may have {self.body_bytes:,} bytes; send the rows in several requests",
            closes=True,
        )


async def read_body(receive: Receive, announced: int | None, limits: RequestLimits) -> bytes:
    """Return the body of a request.

    Parameters
    ----------
    announced : int or None
        Its bytes, if the request says how many.

    Raises
    ------
    RequestError
        For a body that is too long, or comes too slowly.
    Disconnected
    """
    if announced is not None and announced > limits.body_bytes:
        raise limits.too_large()
    try:
        async with timeout(limits.seconds):
            return await _read_all(receive, limits)
    except TimeoutError:
        raise RequestError(
            408,
            "request.too_slow",
            f"the body did not arrive within {limits.seconds:g} seconds",
            closes=True,
        ) from None


async def _read_all(receive: Receive, limits: RequestLimits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > limits.body_bytes:
            raise limits.too_large()
        if not message.get("more_body"):
            return part if len(parts) == 1 else b"".join(parts)
