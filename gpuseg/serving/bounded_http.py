"""A connection of HTTP/1.1, with limits for all that a client can send, or leave out.

There is no ASGI between the parser and the application: with one row a request, its messages took
longer than the row. An answer is written at once, so that its client wakes up once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools

from gpuseg.serving.http_messages import HttpAnswer, HttpRequest, error_answer
from gpuseg.serving.incoming_body import IncomingBody
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.request_errors import Disconnected, RequestError

_UNREAD_BYTES = 2**16
"""Bytes of a body that are kept while nobody reads it; the others stay in the socket."""

_WAITING_REQUESTS = 256
"""Most requests that wait for the answer to an earlier one: small ones take fifty times the memory
of their bytes."""

_HEADER_OVERHEAD = 32
"""Bytes that count for a header beside its name and value, as in HTTP/2: small ones take more."""

_KEEP_ALIVE_SECONDS = 75
"""How long a connection without a request stays open; longer than those of usual balancers."""

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class BoundedHttp(asyncio.Protocol):
    """A connection whose requests stay within limits; they are answered in their order.

    Parameters
    ----------
    config : uvicorn.Config
        Its application returns the answer to a request.
    server_state : uvicorn.server.ServerState
        Has the connections and the tasks that the server waits for at its end.
    app_state, _loop
        As uvicorn gives them; not used.
    """

    limits = RequestLimits()

    def __init__(self, config: Any, server_state: Any, app_state: Any, _loop: Any = None) -> None:
        self._app: Callable[[HttpRequest], Awaitable[HttpAnswer]] = config.loaded_app
        self._state = server_state
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        """None once nothing more is read."""
        self._url, self._headers = b"", list[tuple[bytes, bytes]]()
        self._head_bytes, self._is_in_head = 0, True
        self._headers_bytes = 0
        """As they count for their limit."""
        self._n_without_body = 0
        """Bytes since the last one of a body; trailers may be many."""
        self._is_upgrade = False
        self._request: HttpRequest | None = None
        """The one that is being answered."""
        self._arriving: HttpRequest | None = None
        """The one whose body is on its way, unless it is answered already."""
        self._others: deque[HttpRequest] = deque()
        """Those that came before the answer to an earlier one."""
        self._refusal: HttpAnswer | None = None
        """The last answer, behind those to the requests."""
        self._is_ending = self._is_reading_paused = self._is_writing_paused = False
        self._deadline = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # What the transport and the server call.

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        self._transport = transport
        self._state.connections.add(self)
        self._wait(self.limits.seconds)
        if len(self._state.connections) > self.limits.connections:
            self._is_ending = True
            self._refuse(503, "server.busy", "too many connections are open")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._state.connections.discard(self)
        for timer in (self._timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._others.clear()
        if self._arriving is not None:
            self._arriving.incoming.fail(Disconnected())
        self._parser = None

    def data_received(self, data: bytes) -> None:
        """Take data; those of the headers are counted."""
        if self._parser is None:
            return
        is_first = not self._head_bytes
        if self._is_in_head:
            self._head_bytes += len(data)
        else:
            self._n_without_body += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(400, "request.not_http", "the request is not HTTP/1.1")
            return
        if max(self._head_bytes, self._n_without_body) > self.limits.header_bytes:
            self._refuse_headers()
        elif self._head_bytes and (is_first or self._deadline == float("inf")):
            self._wait(self.limits.seconds)

    def eof_received(self) -> bool:
        """Answer the requests that came whole: their client may only have stopped sending."""
        self._is_ending = True
        if self._arriving is not None and self._others:
            self._others.pop()
            self._arriving = None
        if self._arriving is None and self._is_busy():
            return True
        self._close()
        return False

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read its answer, which stays in memory."""
        self._is_writing_paused = True
        self._write_timer = self._loop.call_later(self.limits.seconds, self._transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting: most of the answer has been read."""
        self._is_writing_paused = False
        if self._write_timer is not None and not self._transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None
        self._begin_next()

    def shutdown(self) -> None:
        """Close the connection after the answers to the requests that have begun."""
        self._is_ending = True
        if not self._is_busy():
            self._close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Begin a request."""
        if not self._is_upgrade:
            self._url, self._headers, self._headers_bytes = b"", [], 0
            self._head_bytes = self._head_bytes or 1  # they may follow another request

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target of the request."""
        if not self._is_upgrade:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body are not needed."""
        if self._is_in_head:
            self._headers.append((name.lower(), value.rstrip(b" \t")))
            self._headers_bytes += len(name) + len(value) + _HEADER_OVERHEAD
            if self._headers_bytes > self.limits.header_bytes:  # there may be many in one piece
                self._refuse_headers()
                raise httptools.HttpParserError("the headers are too long")

    def on_headers_complete(self) -> None:
        """Begin to answer the request, whose body may still be on its way."""
        if self._is_upgrade:
            self._is_upgrade = False
            return
        self._is_in_head, self._head_bytes, self._n_without_body = False, 0, 0
        self._deadline = float("inf")
        if len(self._url) + self._headers_bytes > self.limits.header_bytes:
            self._refuse_headers()
            raise httptools.HttpParserError("the headers are too long")
        if len(self._others) == _WAITING_REQUESTS:
            self._refuse(503, "server.busy", "too many requests wait for an answer")
            raise httptools.HttpParserError("too many requests")
        self._is_upgrade = self._parser.should_upgrade()
        path = (httptools.parse_url(self._url).path or b"/").decode("ascii")
        request = HttpRequest(
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            self._headers,
            self._parser.get_http_version() != "1.0" and self._parser.should_keep_alive(),
        )
        announced = request.content_length()
        request.incoming = IncomingBody(announced, self.limits, self._read_on)
        self._arriving = request
        self._others.append(request)
        self._begin_next()
        if self._others:
            self._pause_reading()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; what comes after the answer is dropped."""
        self._n_without_body = 0
        request = self._arriving
        if request is None:
            return
        request.incoming.add(body)
        if request.incoming.n_bytes > _UNREAD_BYTES and not request.incoming.is_wanted:
            self._pause_reading()

    def on_message_complete(self) -> None:
        """Wait for another request."""
        if self._is_upgrade:
            return
        self._is_in_head, self._n_without_body = True, 0
        if self._arriving is None:
            self._wait(_KEEP_ALIVE_SECONDS)
            return
        self._arriving.incoming.end()
        self._arriving = None

    def _feed(self, data: bytes | memoryview) -> None:
        while data:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                # It leaves the body to the other protocol, which nobody speaks here: another
                # parser reads it, behind headers without the wish to change the protocol.
                self._parser = httptools.HttpRequestParser(self)
                self._parser.feed_data(self._head_of_body())
                data = memoryview(data)[upgrade.args[0] :]

    def _head_of_body(self) -> bytes:
        lines = [
            b"%b: %b\r\n" % (name, value)
            for name, value in self._headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        return b"POST / HTTP/1.1\r\n%b\r\n" % b"".join(lines)

    # Answers.

    def _is_busy(self) -> bool:
        """Return whether answers are on their way."""
        return self._request is not None or bool(self._others)

    def _begin_next(self) -> None:
        if self._request is not None or self._is_writing_paused or not self._others:
            return
        self._request = self._others.popleft()
        task = self._loop.create_task(self._answer(self._request))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    async def _answer(self, request: HttpRequest) -> None:
        try:
            answer = await self._app(request)
            if not self._transport.is_closing():
                self._finish(request, answer)
        except Disconnected:
            pass
        except BaseException:
            self._transport.abort()  # else the client would wait for ever
            raise

    def _finish(self, request: HttpRequest, answer: HttpAnswer) -> None:
        self._request = None
        closes = (
            not request.keeps_alive
            or request.may_go_on()  # the connection would wait for its end
            or answer.closes
            or (self._is_ending and not self._others and self._refusal is None)
        )
        self._write(answer, closes, has_body=request.method != "HEAD")
        if closes:
            self._others.clear()
            self._end()
        elif self._others:  # no more are read: a client could send them faster than its answers
            self._begin_next()
        elif self._refusal is not None:
            self._write(self._refusal, True)
            self._end()
        else:
            self._resume_reading()
            if self._arriving is request:  # nobody reads the rest
                self._arriving = None
                self._wait(self.limits.seconds)
            else:
                self._wait(self.limits.seconds if self._head_bytes else _KEEP_ALIVE_SECONDS)

    def _write(self, answer: HttpAnswer, closes: bool, *, has_body: bool = True) -> None:
        headers = [(name.decode(), value.decode()) for name, value in self._state.default_headers]
        headers += [
            ("content-type", answer.media_type),
            ("content-length", str(len(answer.body))),
            *answer.headers.items(),
        ]
        if closes:
            headers.append(("connection", "close"))
        text = "".join([f"{name}: {value}\r\n" for name, value in headers])
        head = b"%b%b\r\n" % (_STATUS_LINES[answer.status], text.encode())
        self._transport.writelines([head, answer.body] if has_body else [head])

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer what does not become a request, after those before it, and read no more."""
        if self._parser is None or self._transport.is_closing():
            return
        self._parser = None
        headers = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        error = RequestError(status, code, message, headers=headers, closes=True)
        if self._arriving is not None:  # its body is wrong
            self._arriving.keeps_alive = False
            self._arriving.incoming.fail(error)
            self._arriving = None
            return
        self._refusal = error_answer(error)
        if not self._is_busy():
            self._write(self._refusal, True)
            self._end()

    def _refuse_headers(self) -> None:
        self._refuse(431, "request.headers_too_long", "the headers are too long")

    def _end(self) -> None:
        """Close the connection; a client that still sends can read its answer before.

        Data that nobody reads would reset the connection.
        """
        is_sending = self._arriving is not None or self._parser is None or self._is_reading_paused
        if self._is_ending or not is_sending:
            self._close()
            return
        self._parser = self._arriving = None
        self._transport.write_eof()
        self._resume_reading()
        self._wait(self.limits.seconds)

    def _close(self) -> None:
        """Close the connection when its client has read what was written, or reads no more."""
        self._transport.close()
        if self._write_timer is None:
            self._write_timer = self._loop.call_later(self.limits.seconds, self._transport.abort)

    # What is waited for.

    def _read_on(self) -> None:
        """Take the rest of a body that somebody reads."""
        if self._request is not None and self._request.header(b"expect").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._resume_reading()

    def _pause_reading(self) -> None:
        if not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and not self._transport.is_closing():
            self._is_reading_paused = False
            self._transport.resume_reading()

    def _wait(self, seconds: float) -> None:
        """Wait for data; a timer that runs already is set on when it ends, not for each request."""
        self._deadline = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._check_time)

    def _check_time(self) -> None:
        self._timer = None
        if self._deadline == float("inf"):
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check_time)
        elif self._is_reading_paused:  # it is not the client who waits
            self._wait(self.limits.seconds)
        elif self._head_bytes and self._parser is not None:
            self._refuse(408, "request.too_slow", "the headers did not arrive in time")
        else:
            self._close()
