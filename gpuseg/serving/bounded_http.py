"""uvicorn's connection, with the limits that it does not have itself.

A request line and headers of any length would be kept in memory, and a connection that sends
nothing would stay open. What is refused here is answered with JSON, as everything else.
"""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gpuseg.serving.limits import RequestLimits


class BoundedHttp(HttpToolsProtocol):
    """A connection whose requests stay within limits."""

    limits = RequestLimits()

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._is_in_head = True
        self._wait_for_head()
        if len(self.connections) > self.limits.connections:
            self._refuse(503, "server.busy", "too many connections are open")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        self._stop_waiting_for_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take data; those of the headers are counted."""
        if self._is_in_head:
            self._head_bytes += len(data)
            if self._timer is None:
                self._wait_for_head()
            before = self.cycle
            super().data_received(data)
            # The first piece of a body may come with the headers.
            is_late = self._head_bytes > self.limits.header_bytes
            if is_late and self._is_in_head and self.cycle is before:
                self._refuse(431, "request.headers_too_long", "the headers are too long")
            return
        super().data_received(data)
        if self._timer is None and self.cycle.response_complete:
            self._wait_for_head()  # of the next request: nobody reads the rest of the body

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read its answer, which stays in memory."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.limits.seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop waiting: most of the answer has been read."""
        self._stop_waiting_for_reader()
        super().resume_writing()

    def on_headers_complete(self) -> None:
        """Begin the request, whose body has limits of its own (`limits.read_body`)."""
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for another request."""
        self._is_in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, "request.not_http", "the request is not HTTP/1.1")

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(self.limits.seconds, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_waiting_for_reader(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _head_is_late(self) -> None:
        if self._head_bytes:
            self._refuse(408, "request.too_slow", "the headers did not arrive in time")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._stop_waiting()
        if self.transport is None or self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:  # an answer is on its way
            self.transport.close()
            return
        wait = b"retry-after: 1\r\n" if status == 503 else b""
        body = json.dumps({"error": message, "code": code}).encode()
        self.transport.write(
            b"%b%bcontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            % (STATUS_LINE[status], wait, len(body))
        )
        self.transport.write(body)
        self.transport.close()
