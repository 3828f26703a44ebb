"""The routes: which answer a request gets.

A framework would find the route and build request and response objects: with one row a request
that took a third of the time.
"""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa

import gpuseg
from gpuseg.errors import GpusegError
from gpuseg.formatting import count
from gpuseg.serving.access_token import check_token
from gpuseg.serving.batching import MAX_ROWS, MicroBatcher
from gpuseg.serving.failure_log import FailureLog
from gpuseg.serving.http_messages import HttpAnswer, HttpRequest, error_answer, json_answer
from gpuseg.serving.limits import RequestLimits
from gpuseg.serving.loaded_model import LoadedModel, RequestScores
from gpuseg.serving.media_types import (
    ARROW,
    CSV,
    HTML,
    JSON,
    JSON_LINES,
    OCTETS,
    accepted,
    media_type,
)
from gpuseg.serving.metrics import Metrics
from gpuseg.serving.model_reload import CurrentModel
from gpuseg.serving.openapi import openapi_document
from gpuseg.serving.page_answers import html_page, locked_page
from gpuseg.serving.protocols import arrow_stream, open_inference, sagemaker, segments
from gpuseg.serving.protocols.answers import WRONG_ROWS
from gpuseg.serving.protocols.binary_tensors import EXTENSION, LENGTH_HEADER
from gpuseg.serving.request_errors import Disconnected, RequestError
from gpuseg.serving.request_rows import RequestRows

T = TypeVar("T")

_SMALL_BODY, _FEW_ROWS = 2**19, 2048
"""Bytes and rows that are read and scored in the event loop, in a few milliseconds; more get a
thread, so that other requests do not wait for them."""

_RUN_HEADER = "x-gpuseg-run"

_PAGE = "/"

_OTHER = "other"
"""The route, in the metrics, of all paths that do not exist."""


class Route(NamedTuple):
    """A path that exists.

    Attributes
    ----------
    name : str
        In metrics; without the name of the model.
    methods : tuple of str
    answer : callable
        Returns the answer to a request, for the model that it began with.
    is_limited : bool
        Whether the route counts for the limit of requests: health and metrics do not.
    """

    name: str
    methods: tuple[str, ...]
    answer: Callable[[HttpRequest, LoadedModel], Awaitable[HttpAnswer]]
    is_limited: bool = False


class ScoringApp:
    """Answers the requests of one worker.

    Parameters
    ----------
    current : CurrentModel
    name : str
        The model's name in the Open Inference Protocol.
    token : bytes or None
    limits : RequestLimits
    metrics : Metrics
    log : FailureLog
    executor : Executor
        For large requests.
    """

    def __init__(
        self,
        current: CurrentModel,
        name: str,
        token: bytes | None,
        limits: RequestLimits,
        metrics: Metrics,
        log: FailureLog,
        executor: Executor,
    ) -> None:
        self._current, self._name, self._token = current, name, token
        self._limits, self._metrics, self._log = limits, metrics, log
        self._executor = executor
        self._n_running = 0
        self._batcher: MicroBatcher | None = None
        self._routes = self._all_routes()

    async def __call__(self, request: HttpRequest) -> HttpAnswer:
        """Return the answer to a request.

        Raises
        ------
        Disconnected
            If the client goes while its body is read.
        """
        started, model = time.perf_counter(), self._current.model
        route = self._find(request.path, model)
        self._metrics.begin_request()
        status = 499  # the client has gone
        try:
            answer = await self._answer(request, model, route)
            status = answer.status
        finally:
            name = _OTHER if route is None else route.name
            self._metrics.end_request(name, status, time.perf_counter() - started)
        if status != HTTPStatus.UNAUTHORIZED:  # else nothing is told of the model
            answer.headers[_RUN_HEADER] = model.run_id
        return answer

    async def _answer(
        self, request: HttpRequest, model: LoadedModel, route: Route | None
    ) -> HttpAnswer:
        """Return the answer, whatever happens."""
        try:
            check_token(self._token, request.header(b"authorization"))
            if route is None:
                raise RequestError(
                    404,
                    "route.unknown",
                    f"there is no such path, model or version: the model is '{self._name}', the "
                    f"version '{model.run_id}'; /openapi.json lists the paths",
                )
            if request.method not in route.methods:
                raise RequestError(
                    405,
                    "route.other_method",
                    f"the method must be {' or '.join(route.methods)}",
                    headers={"allow": ", ".join(route.methods)},
                )
            if route.is_limited:
                return await self._limited(request, model, route)
            return await route.answer(request, model)
        except RequestError as error:
            self._log.write(f"{error.status} {request.method} {request.path}: {error.code}")
            if error.status == 401 and _asks_for_page(request):
                return await self._rendered(partial(locked_page, error.headers))
            return error_answer(error)
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 - the client must learn nothing of it
            self._log.write(f"500 {request.method} {request.path}: {_in_one_line(error)}")
            return json_answer({"error": "internal error", "code": "internal"}, 500)

    async def _limited(self, request: HttpRequest, model: LoadedModel, route: Route) -> HttpAnswer:
        if self._n_running >= self._limits.requests:
            raise RequestError(
                503,
                "server.busy",
                f"{self._limits.requests} requests are running already; try again",
                headers={"retry-after": "1"},
            )
        self._n_running += 1
        try:
            if request.header(b"content-encoding") not in (b"", b"identity"):
                raise _unsupported("content encoding", "identity")
            await request.read()
            return await route.answer(request, model)
        finally:
            self._n_running -= 1

    def _find(self, path: str, model: LoadedModel) -> Route | None:
        route = self._routes.get(path)
        if route is None:  # the version of a model is its run
            start = f"/v2/models/{self._name}"
            end = path.removeprefix(f"{start}/versions/{model.run_id}")
            route = self._routes.get(start + end) if end != path else None
        return route

    def _all_routes(self) -> dict[str, Route]:
        get, post = ("GET", "HEAD"), ("POST",)
        model, name = "/v2/models/{name}", self._name
        of_model = {
            "": Route(model, get, self._metadata),
            "/ready": Route(f"{model}/ready", get, self._model_ready),
            "/infer": Route(f"{model}/infer", post, self._infer, True),
        }
        return {
            _PAGE: Route(_PAGE, get, self._page),
            "/openapi.json": Route("/openapi.json", get, self._openapi),
            "/segments": Route("/segments", post, self._segments, True),
            "/invocations": Route("/invocations", post, self._invocations, True),
            "/ping": Route("/ping", get, self._ping),
            "/metrics": Route("/metrics", get, self._metrics_text),
            "/report": Route("/report", get, self._report),
            "/v2": Route("/v2", get, self._server),
            "/v2/health/live": Route("/v2/health/live", get, self._live),
            "/v2/health/ready": Route("/v2/health/ready", get, self._ready),
            **{f"/v2/models/{name}{end}": route for end, route in of_model.items()},
        }

    # Routes.

    async def _page(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        return await self._rendered(partial(html_page, model.model, model.manifest))

    async def _openapi(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        document = partial(
            openapi_document, model, self._name, self._limits,
            needs_token=self._token is not None, version=gpuseg.__version__,
        )  # fmt: skip
        return await self._rendered(lambda: json_answer(document()))

    async def _rendered(self, render: Callable[[], HttpAnswer]) -> HttpAnswer:
        """Return an answer that takes longer than a row to score."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, render)

    async def _ping(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        return json_answer({})

    async def _live(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        return json_answer({"live": True})

    async def _ready(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        return json_answer({"ready": True})

    async def _server(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        return json_answer(
            {"name": "gpuseg", "version": gpuseg.__version__, "extensions": [EXTENSION]}
        )

    async def _metadata(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        return json_answer(open_inference.metadata(model, self._name))

    async def _model_ready(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        return json_answer({"name": self._name, "ready": True})

    async def _metrics_text(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        text = self._metrics.text().encode()
        return HttpAnswer(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _report(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        if model.report is None:
            raise RequestError(404, "report.missing", "the output has no report")
        return HttpAnswer(model.report, media_type="text/html; charset=utf-8")

    async def _segments(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        kind, _ = _kind(request, JSON, ARROW)
        if kind == ARROW:
            return await self._arrow(request, model, None)
        return await self._score(
            request,
            model,
            lambda: segments.read(request.body, model, self._limits),
            lambda scored: segments.write(scored, model),
            with_next=True,
        )

    async def _infer(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        json_length = request.text_header(LENGTH_HEADER.encode())
        kind = OCTETS
        if not json_length:
            kind, _ = _kind(request, JSON, ARROW)
        if kind == ARROW:
            return await self._arrow(request, model, ("segment", "distance"))
        asked: list[open_inference.InferRequest] = []
        headers: dict[str, str] = {}

        def read() -> RequestRows:
            asked.append(open_inference.read(request.body, model, self._limits, json_length))
            return asked[0].rows

        def write(scored: RequestScores) -> bytes:
            body, length = open_inference.write(scored, model, self._name, asked[0])
            if length is not None:
                headers[LENGTH_HEADER] = str(length)
            return body

        answer = await self._score(request, model, read, write, with_next=True)
        if not headers:
            return answer
        return HttpAnswer(answer.body, answer.status, OCTETS, headers)

    async def _invocations(self, request: HttpRequest, model: LoadedModel) -> HttpAnswer:
        kind, parameters = _kind(request, JSON, JSON_LINES, CSV)
        accept = accepted(request.text_header(b"accept"), (JSON, JSON_LINES, CSV))
        if accept is None:
            raise RequestError(
                406, "request.not_acceptable", f"answers are {JSON}, {JSON_LINES} or {CSV}"
            )
        has_header = {"present": True, "absent": False}.get(parameters.get("header", ""))
        readers: dict[str, Callable[[bytes, LoadedModel, RequestLimits], RequestRows]] = {
            JSON: sagemaker.read_json,
            JSON_LINES: sagemaker.read_json_lines,
            CSV: partial(sagemaker.read_csv, has_header=has_header),
        }
        answer = await self._score(
            request,
            model,
            lambda: readers[kind](request.body, model, self._limits),
            lambda scored: sagemaker.write(scored, accept),
            with_next=False,
        )
        kind_of_answer = accept if answer.status == 200 else JSON
        return HttpAnswer(answer.body, answer.status, kind_of_answer)

    # Scoring.

    async def _score(
        self,
        request: HttpRequest,
        model: LoadedModel,
        read: Callable[[], RequestRows],
        write: Callable[[RequestScores], bytes],
        *,
        with_next: bool,
    ) -> HttpAnswer:
        """Return the answer to rows that `read` returns: those of a large body in a thread."""
        if len(request.body) > _SMALL_BODY:
            rows = await self._in_thread(read)
        else:
            rows = read()
        n_rows = len(rows.rows)
        self._limits.check_rows(n_rows)
        if n_rows <= MAX_ROWS:
            if self._batcher is None:
                loop = asyncio.get_running_loop()
                self._batcher = MicroBatcher(loop, self._metrics.count_rows)
            scored = await self._batcher.score(model, rows, with_next=with_next)
            return self._scored(request, scored, write(scored), JSON)

        def work() -> tuple[RequestScores, bytes]:
            scored = model.score(rows, with_next=with_next)
            return scored, write(scored)

        scored, body = work() if n_rows <= _FEW_ROWS else await self._in_thread(work)
        self._metrics.count_rows(scored)
        return self._scored(request, scored, body, JSON)

    async def _arrow(
        self, request: HttpRequest, model: LoadedModel, columns: tuple[str, ...] | None
    ) -> HttpAnswer:
        """Return the answer to a stream of Arrow; its columns are all or the ones given."""

        def read() -> pa.Table:
            return arrow_stream.read(request.body, model, self._limits)

        def work() -> tuple[RequestScores, bytes]:
            scored = model.score_table(table, with_next=columns is None)
            return scored, arrow_stream.write(scored, columns)

        is_small = len(request.body) <= _SMALL_BODY
        try:
            table = read() if is_small else await self._in_thread(read)
            is_small &= len(table) <= _FEW_ROWS
            scored, body = work() if is_small else await self._in_thread(work)
        except GpusegError as error:  # of a column as a whole
            raise RequestError(400, error.code, str(error)) from None
        self._metrics.count_rows(scored)
        return self._scored(request, scored, body, ARROW)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Return the result of work that takes so long that other requests should not wait."""
        running = asyncio.get_running_loop().run_in_executor(self._executor, work)
        try:
            return await asyncio.wait_for(running, self._limits.seconds)
        except TimeoutError:
            raise RequestError(
                503,
                "request.took_too_long",
                f"there was no answer within {self._limits.seconds:g} seconds; send fewer rows",
                headers={"retry-after": "1"},
            ) from None

    def _scored(
        self, request: HttpRequest, scored: RequestScores, body: bytes, kind: str
    ) -> HttpAnswer:
        if not scored.n_wrong:
            return HttpAnswer(body, 200, kind)
        rows = f"{scored.n_wrong:,} of {count(scored.n_rows, 'row')}"
        self._log.write(f"400 {request.method} {request.path}: {WRONG_ROWS}, {rows}")
        return HttpAnswer(body, 400, kind)


def _asks_for_page(request: HttpRequest) -> bool:
    """Return whether a browser asks for the page, which then asks for the token."""
    wanted = accepted(request.text_header(b"accept"), (JSON, HTML))
    return request.path == _PAGE and request.method in ("GET", "HEAD") and wanted == HTML


def _kind(request: HttpRequest, *known: str) -> tuple[str, Mapping[str, str]]:
    """Return the type of the body, by default the first one, and its parameters.

    Raises
    ------
    RequestError
    """
    kind, parameters = media_type(request.text_header(b"content-type") or known[0])
    if kind not in known:
        raise _unsupported(f"type {kind!r} of the body", " or ".join(known))
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8", "us-ascii"):
        raise _unsupported("charset", "utf-8")
    return kind, parameters


def _unsupported(what: str, rule: str) -> RequestError:
    return RequestError(415, "request.unsupported_type", f"the {what} must be {rule}")


def _in_one_line(error: Exception) -> str:
    """Return the kind of an error and where it was raised, without values of the request."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    code = f" {error.code}" if isinstance(error, GpusegError) else ""
    return f"{type(error).__name__}{code}{place}"
