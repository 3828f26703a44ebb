"""Requests and answers of HTTP, as the routes see them."""

import json
from dataclasses import dataclass, field
from typing import Any

from gpuseg.serving.incoming_body import IncomingBody
from gpuseg.serving.media_types import JSON
from gpuseg.serving.request_errors import RequestError

_READ_AT_ONCE = 2**16


class HttpRequest:
    """A request whose headers have arrived.

    Parameters
    ----------
    method, path : str
    headers : list of tuple
        Names in lower case, and values.
    keeps_alive : bool
        Whether the client wants to send another request on the connection.

    Attributes
    ----------
    method, path, keeps_alive
        As given.
    incoming : IncomingBody
        The body, as it arrives.
    body : bytes
        The body, once it has been read.
    is_read : bool
        Whether it has been read to its end.
    """

    incoming: IncomingBody

    def __init__(
        self, method: str, path: str, headers: list[tuple[bytes, bytes]], keeps_alive: bool
    ) -> None:
        self.method, self.path, self.keeps_alive = method, path, keeps_alive
        self.body = b""
        self.is_read = False
        self._headers = headers

    async def read(self) -> None:
        """Read the body.

        Raises
        ------
        RequestError
            For a body that is too long, comes too slowly, or is not HTTP.
        Disconnected
        """
        self.body = await self.incoming.read()
        self.is_read = True

    def header(self, name: bytes) -> bytes:
        """Return a header; empty if it is not there."""
        for key, value in self._headers:
            if key == name:
                return value
        return b""

    def text_header(self, name: bytes) -> str:
        """Return a header as text."""
        return self.header(name).decode("latin-1")

    def content_length(self) -> int | None:
        """Return the bytes that the request says its body has."""
        length = self.header(b"content-length")
        return int(length) if length.isdigit() else None

    def may_go_on(self) -> bool:
        """Return whether a body may follow that nobody will read, longer than what is read at once.

        A client that asked whether to send it may leave it out.
        """
        if self.is_read:
            return False
        length, at_once = self.content_length(), 0 if self.header(b"expect") else _READ_AT_ONCE
        return bool(self.header(b"transfer-encoding")) or (length or 0) > at_once


@dataclass(frozen=True)
class HttpAnswer:
    """An answer.

    Attributes
    ----------
    body : bytes
    status : int
    media_type : str
    headers : dict of str to str
        Further headers.
    closes : bool
        Whether the connection is closed after the answer.
    """

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False


def json_answer(content: Any, status: int = 200) -> HttpAnswer:
    """Return an answer of JSON."""
    return HttpAnswer(json.dumps(content, ensure_ascii=False).encode(), status)


def error_answer(error: RequestError) -> HttpAnswer:
    """Return the answer to a request that is refused."""
    body = json.dumps(error.body(), ensure_ascii=False).encode()
    return HttpAnswer(body, error.status, JSON, dict(error.headers), error.closes)
