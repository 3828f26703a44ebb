"""Drawn requests as bytes on a connection: right, broken, slow, and none at all."""

import gzip
import random
from dataclasses import dataclass, field

from fuzzing.http_bodies import Body

_METHODS = (
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "PATCH",
    "post",
    "A" * 300,
)

_TARGETS = (
    "/", "/segments", "/segments/", "/report", "/metrics", "/openapi.json", "/v2", "/v2/",
    "/v2/health/live", "/v2/health/ready", "/v2/models/x", "/v2/models/%00/infer", "/ping", "*",
    "/v2/models/../../etc/passwd", "/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
    "//segments",
    "/segments?rows=1", "/segments?%ff", "/segments#x", "http://example.org/segments", "/\xff",
    "/" + "a" * 10_000, "/" + "a" * 100_000, "/%", "/%zz", "/segments;x", "/invocations?a=b&a",
)  # fmt: skip

_HEADERS = (
    "Content-Length: 5", "Content-Length: -1", "Content-Length: 99999999999999999999",
    "Content-Length: 1e3", "Content-Length: ", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: x", "Expect: 100-continue", "Expect: x",
    "Connection: close", "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk", "Host: ",
    "Host: a\r\nHost: b", "Content-Encoding: gzip", "Content-Encoding: x", "Accept: text/html",
    "Accept: application/x-unknown", "Accept: \xff", "Authorization: Bearer",
    "Authorization: Basic x",
    "X: " + "a" * 5_000, "X: " + "a" * 100_000, "X: a\r\n b", "X : a", ": a", "X", "X: \0",
    "Content-Type: application/json\r\nContent-Type: text/csv", "Cookie: " + "a=b; " * 1000,
    "\r\n".join(f"X-{i}: a" for i in range(2_000)), "Range: bytes=0-", "If-None-Match: *",
    "Inference-Header-Content-Length: 10", "Inference-Header-Content-Length: -1",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What a client sends.

    Attributes
    ----------
    parts : list of bytes
        Sent one after the other.
    pause : float
        Seconds between two parts.
    ends_early : bool
        Whether the client closes its side after the last part: no answer may come then.
    may_be_unanswered : bool
        Whether the connection may end without an answer, as after what is no HTTP.
    is_head : bool
        Whether the answer has no body.
    """

    parts: list[bytes] = field(default_factory=list)
    pause: float = 0.0
    ends_early: bool = False
    may_be_unanswered: bool = False
    is_head: bool = False


def whole_request(body: Body, headers: str = "") -> bytes:
    """Return a request with its length."""
    path, media_type, content = body
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n"
    if media_type:
        head += f"Content-Type: {media_type}\r\n"
    head += f"{headers}Content-Length: {len(content)}\r\n\r\n"
    return head.encode("latin-1") + content


def drawn_request(draw: random.Random, body: Body) -> Request:
    """Return a request with the body; the way it is sent is right in most cases."""
    if draw.random() < 0.7:
        return Request([whole_request(body)])
    kinds = (
        _without_length, _chunked, _in_small_parts, _cut_off, _with_odd_header, _with_odd_header,
        _of_other_target, _of_other_target, _compressed, _broken_chunks, _no_http,
    )  # fmt: skip
    return draw.choice(kinds)(draw, body)


def _without_length(draw: random.Random, body: Body) -> Request:
    path, media_type, content = body
    head = f"POST {path} HTTP/{draw.choice(('1.0', '1.1'))}\r\nHost: a\r\n"
    head += f"Content-Type: {media_type}\r\n\r\n"
    return Request([head.encode("latin-1") + content], may_be_unanswered=True)


def _chunked(draw: random.Random, body: Body) -> Request:
    path, media_type, content = body
    step = draw.choice((1, 3, 100, 100_000)) if len(content) < 2_000 else 50_000
    chunks = [content[i : i + step] for i in range(0, len(content), step)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    head += f"Content-Type: {media_type}\r\n\r\n"
    trailer = draw.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nX: a\r\n\r\n"))
    return Request([head.encode("latin-1"), framed + trailer])


def _broken_chunks(draw: random.Random, body: Body) -> Request:
    head = f"POST {body[0]} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    size = draw.choice((b"-1", b"zz", b"ffffffffffffffffffff", b"5;x=" + b"a" * 9_000, b"", b"5 "))
    return Request(
        [head + size + b"\r\nabcde\r\n0\r\n\r\n"], ends_early=True, may_be_unanswered=True
    )


def _in_small_parts(draw: random.Random, body: Body) -> Request:
    content = whole_request(body)
    n = min(draw.choice((2, 5, 20)), len(content))
    cuts = sorted(draw.sample(range(1, len(content)), n - 1))
    ends = [*cuts, len(content)]
    parts = [content[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
    return Request(parts, pause=draw.choice((0.0, 0.002, 0.02)))


def _cut_off(draw: random.Random, body: Body) -> Request:
    content = whole_request(body)
    part = content[: draw.randrange(len(content))]
    return Request([part], ends_early=True, may_be_unanswered=True)


def _with_odd_header(draw: random.Random, body: Body) -> Request:
    headers = "".join(f"{draw.choice(_HEADERS)}\r\n" for _ in range(draw.randint(1, 2)))
    content = whole_request(body, headers)
    return Request([content], ends_early=draw.random() < 0.5, may_be_unanswered=True)


def _of_other_target(draw: random.Random, body: Body) -> Request:
    method = draw.choice(("GET", "GET", "POST", *_METHODS))
    version = draw.choice(
        ("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/9", "")
    )
    target = draw.choice((*_TARGETS, body[0]))
    length = f"Content-Length: {len(body[2])}\r\n" if draw.random() < 0.3 else ""
    head = f"{method} {target} {version}\r\nHost: a\r\n{length}\r\n"
    content = head.encode("latin-1") + (body[2] if length else b"")
    return Request([content], may_be_unanswered=True, is_head=method == "HEAD")


def _compressed(draw: random.Random, body: Body) -> Request:
    path, media_type, content = body
    packed = gzip.compress(draw.choice((content, b" " * 10**7)))
    encoding = draw.choice(("gzip", "deflate", "br", "identity"))
    return Request([whole_request((path, media_type, packed), f"Content-Encoding: {encoding}\r\n")])


def _no_http(draw: random.Random, body: Body) -> Request:
    content = draw.choice((
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0" * 1000, b"GET /\r\n\r\n", b"hello\n", body[2][:5_000], b"A" * 200_000,
        b"GET " * 9_999, b"\r\n" * 999,
        b"POST /segments HTTP/1.1\nHost: a\nContent-Length: 2\n\n{}", draw.randbytes(300),
    ))  # fmt: skip
    return Request([content], ends_early=True, may_be_unanswered=True)
