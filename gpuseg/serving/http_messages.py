"""Requests and answers of HTTP, as the routes see them."""

import json
from dataclasses import dataclass, field
from typing import Any

from gpuseg.serving.media_types import JSON
from gpuseg.serving.request_errors import RequestError

_READ_AT_ONCE = 2**16


class HttpRequest:
    """A request whose body has been read.

    Parameters
    ----------
    scope : mapping
        Of ASGI.

    Attributes
    ----------
    method, path : str
    body : bytes
    is_read : bool
        Whether the body has been read to its end.
    """

    def __init__(self, scope: Any) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.body = b""
        self.is_read = False
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]

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
        """Return whether a body follows that nobody will read, longer than what is read at once."""
        if self.is_read:
            return False
        length = self.content_length()
        return bool(self.header(b"transfer-encoding")) or (length or 0) > _READ_AT_ONCE


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
    """

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def json_answer(
    content: Any, status: int = 200, headers: dict[str, str] | None = None
) -> HttpAnswer:
    """Return an answer of JSON."""
    return HttpAnswer(json.dumps(content, ensure_ascii=False).encode(), status, JSON, headers or {})


def error_answer(error: RequestError) -> HttpAnswer:
    """Return the answer to a request that is refused."""
    headers = dict(error.headers)
    if error.closes:
        headers["connection"] = "close"
    return json_answer(error.body(), error.status, headers)
