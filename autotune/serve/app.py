"""The application: OpenAI's transcription API, FunASR's WebSocket protocol, health, metrics and a page."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from autotune.deployment import Language
from autotune.errors import AudioError, AutotuneError, DocumentError
from autotune.hot_words import split_hot_words
from autotune.options import Channel
from autotune.recognizer import Segment
from autotune.recognizer.admission import Rejected
from autotune.recognizer.asked import Asked
from autotune.recognizer.decoding import join_texts
from autotune.serve.guard import BodyRules, Callers, RequestGuard
from autotune.serve.openai_api import CONTENT_TYPES, PATH, event, openapi, written
from autotune.serve.page import page_routes
from autotune.serve.service import Service
from autotune.serve.uploads import received_form
from autotune.serve.websocket import converse
from autotune.serve.wire import BackendError

__all__ = ["build_app"]

T = TypeVar("T")

_CLIENT_GONE = 499
_IGNORED = ("prompt", "temperature", "chunking_strategy", "include[]")
"""Fields that OpenAI's clients may send and that have no effect; the answer names them in ``X-Autotune-Ignored``."""


_CORS: dict[str, Any] = {
    "allow_methods": ["GET", "POST"],
    "allow_headers": ["*"],
    "expose_headers": ["Retry-After", "X-Autotune-Ignored", "X-Autotune-Note"],
}


def build_app(service: Service) -> Starlette:
    """The application of a service."""
    handlers = _Handlers(service)
    options = service.options
    rules = BodyRules(service.limits.body_bytes, options.idle_s, options.bytes_per_s)
    callers = Callers(options.api_keys, options.cors_origins, (options.host.lower(),))
    return Starlette(
        routes=[
            *page_routes(),
            Route("/healthz", handlers.healthz),
            Route("/readyz", handlers.readyz),
            Route("/metrics", handlers.metrics),
            Route("/openapi.json", handlers.openapi),
            Route("/v1/models", handlers.models),
            Route("/v1/models/{model:path}", handlers.model),
            Route(PATH, handlers.transcriptions, methods=["POST"]),
            WebSocketRoute("/", handlers.stream),
        ],
        middleware=[
            # In front of the guard: a preflight has no key.
            *(
                [Middleware(CORSMiddleware, **_CORS, allow_origins=options.cors_origins)]
                if options.cors_origins
                else []
            ),
            Middleware(
                RequestGuard,
                callers=callers,
                rules=rules,
                check=service.check_upload,
                refuse=handlers.refusal,
            ),
        ],
        exception_handlers={
            Rejected: handlers.rejected,
            AudioError: handlers.wrong,
            BackendError: handlers.failed,
            HTTPException: handlers.http,
            ClientDisconnect: handlers.gone,
            Exception: handlers.unforeseen,
        },
    )


@dataclass(frozen=True)
class _Handlers:
    service: Service

    async def healthz(self, _: Request) -> Response:
        """Liveness: 503 once the process should be restarted, because no worker has come up for too long."""
        status = {"status": "no worker" if self.service.dead else "ok", "worker_within_s": self.service.absent_s}
        return JSONResponse(status, 503 if self.service.dead else 200)

    async def readyz(self, _: Request) -> Response:
        service = self.service
        deployment = service.document.deployment
        status = {
            "ready": service.ready,
            "model": service.document.model.id,
            "deployment": deployment.key,
            "describes": deployment.describe(),
            "interim_results": service.interims,
            "max_streams": service.limits.streams,
            "max_queue_s": service.limits.queue_s,
        }
        return JSONResponse(status, 200 if service.ready else 503)

    async def metrics(self, _: Request) -> Response:
        text = self.service.metrics.text(self.service.gauges())
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, _: Request) -> Response:
        return JSONResponse(openapi())

    async def models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        asked = request.path_params["model"]
        if asked != self.service.document.model.id:
            text = (
                f"The model must be {self.service.document.model.id!r}, which is served here, but got {asked!r:.200}."
            )
            return self._error(404, text, "model_not_found")
        return JSONResponse(self._model())

    def _model(self) -> dict[str, Any]:
        return {"id": self.service.document.model.id, "object": "model", "created": 0, "owned_by": "autotune"}

    async def transcriptions(self, request: Request) -> Response:
        service, started = self.service, time.perf_counter()
        with contextlib.ExitStack() as held:
            # Before a place among all requests, which one address must not have all of.
            async with service.receiving.place(request.client.host if request.client else ""):
                held.enter_context(service.admission.place())
                upload = held.enter_context(service.upload())
                sent = _parsed(await received_form(request, upload), service)
            upload.close()
            service.metrics.spent("receive", time.perf_counter() - started)
            if sent.stream:
                return await self._streamed(request, upload.path, sent, held.pop_all())
            transcript = await _while_connected(request, service.transcribe(upload.path, sent.asked))
        language = sent.asked.language or service.document.deployment.language
        text = written(transcript, sent.response_format, language, split=sent.asked.channel == "split")
        service.metrics.spent("total", time.perf_counter() - started)
        service.metrics.answered(200)
        said = {"X-Autotune-Ignored": ", ".join(sent.ignored), "X-Autotune-Note": transcript.note}
        headers = {name: value for name, value in said.items() if value}
        return Response(text, media_type=CONTENT_TYPES[sent.response_format], headers=headers)

    async def _streamed(
        self, request: Request, path: Path, sent: _TranscriptionForm, held: contextlib.ExitStack
    ) -> Response:
        """The text as server-sent events, each settled segment as soon as it is there.

        What turns the recording away before its first segment is an answer with that status, as without a stream.
        ``held`` is given back once it is recognised, or given up.
        """
        service, deltas, said = self.service, asyncio.Queue[str | None](), ""

        def settled(segment: Segment) -> None:
            nonlocal said
            whole = join_texts([said, segment.text])
            if whole != said:
                deltas.put_nowait(whole[len(said) :])
            said = whole

        def over(_: object) -> None:
            held.close()
            deltas.put_nowait(None)

        work = asyncio.create_task(_while_connected(request, service.transcribe(path, sent.asked, settled)))
        work.add_done_callback(over)
        first = await deltas.get()
        if first is None and (error := work.exception()) is not None:
            raise error

        async def events() -> AsyncIterator[str]:
            delta = first
            try:
                while delta is not None:
                    yield event("transcript.text.delta", delta=delta)
                    delta = await deltas.get()
                text = (await work).text
                # Where windows overlap, segments are settled only with the whole.
                if not said and text:
                    yield event("transcript.text.delta", delta=text)
                yield event("transcript.text.done", text=text)
                service.metrics.answered(200)
            except AutotuneError as error:
                yield event("error", message=service.without_paths(f"{error}"))
            finally:
                work.cancel()

        return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def stream(self, socket: WebSocket) -> None:
        await converse(socket, self.service)

    def refusal(self, rejected: Rejected) -> ASGIApp:
        """The answer to a request that the guard has turned away."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            self.service.metrics.rejected(rejected.reason)
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": f"{rejected}"})
                return
            await self._error(rejected.status, f"{rejected}", rejected.reason, rejected)(scope, receive, send)

        return answer

    async def rejected(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, Rejected)
        self.service.metrics.rejected(error.reason)
        return self._error(error.status, f"{error}", error.reason, error)

    async def wrong(self, _: Request, error: Exception) -> Response:
        self.service.metrics.rejected("not_audio")
        return self._error(400, self.service.without_paths(f"{error}"), "not_audio")

    async def failed(self, _: Request, error: Exception) -> Response:
        return self._error(503, f"{error} Send it again.", "recognizer_failed")

    async def unforeseen(self, _: Request, error: Exception) -> Response:
        """What nobody thought of, and uvicorn logs: the client gets an error, and nothing of what it says."""
        return self._error(500, "The server failed on this request. Send it again.", "internal_error")

    async def http(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return self._error(error.status_code, error.detail, "invalid_request", headers=error.headers)

    async def gone(self, _: Request, __: Exception) -> Response:
        self.service.metrics.answered(_CLIENT_GONE)
        return Response(status_code=_CLIENT_GONE)

    def _error(
        self, status: int, text: str, code: str, rejected: Rejected | None = None, headers: Any = None
    ) -> Response:
        """An error as OpenAI's clients parse it: type by status, Retry-After where waiting helps."""
        self.service.metrics.answered(status)
        kind = "invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error"
        content = {"error": {"message": text, "type": kind, "param": None, "code": code}}
        all_headers = dict(headers or {})
        if rejected is not None and rejected.retry_after_s is not None:
            # Spread: clients that are turned away together shall not come back together.
            all_headers["Retry-After"] = str(math.ceil(rejected.retry_after_s * random.uniform(1.0, 1.5)))
        return JSONResponse(content, status, all_headers)


@dataclass(frozen=True)
class _TranscriptionForm:
    response_format: str
    stream: bool
    asked: Asked
    ignored: tuple[str, ...]


def _parsed(form: FormData, service: Service) -> _TranscriptionForm:
    """The fields of a transcription request. Raises HTTPException 400."""
    if not isinstance(form.get("file"), UploadFile):
        raise HTTPException(400, 'The form must hold the recording as the file "file", but it holds no such file.')
    response_format = form.get("response_format") or "json"
    if not isinstance(response_format, str) or response_format not in CONTENT_TYPES:
        raise HTTPException(
            400, f"response_format must be one of {', '.join(CONTENT_TYPES)}, but got {response_format!r}."
        )
    stream = f"{form.get('stream', '')}".lower() in ("true", "1")
    if stream and response_format not in ("json", "text"):
        raise HTTPException(400, f"response_format must be json or text with stream=true, but got {response_format!r}.")
    words = "word" in form.getlist("timestamp_granularities[]")
    if words and not service.times_words:
        raise HTTPException(400, "timestamp_granularities must be segment: the model gives no times of words.")
    ignored = [name for name in _IGNORED if form.get(name)]
    hot_words: tuple[str, ...] = ()
    if "prompt" in ignored and service.takes_hot_words:
        ignored.remove("prompt")
        hot_words = _prompted(f"{form['prompt']}")
    language = f"{form.get('language') or ''}".strip().lower() or None
    if language is not None and not service.chooses_language:
        ignored.insert(0, "language")
        language = None
    if language is not None and language not in get_args(Language):
        raise HTTPException(400, f"language must be one of {', '.join(get_args(Language))}, but got {language!r}.")
    channel = f"{form.get('channel') or 'mix'}"
    if channel not in get_args(Channel):
        raise HTTPException(400, f"channel must be one of {', '.join(get_args(Channel))}, but got {channel!r:.40}.")
    asked = Asked(
        words=words,
        language=cast("Language | None", language),
        channel=cast("Channel", channel),
        hot_words=hot_words,
    )
    return _TranscriptionForm(response_format, stream, asked, tuple(ignored))


def _prompted(prompt: str) -> tuple[str, ...]:
    """The hot words of OpenAI's prompt, between blanks or commas. Raises HTTPException 400."""
    try:
        return split_hot_words(prompt)
    except DocumentError as error:
        raise HTTPException(400, f"prompt has the hot words. {error}") from error


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client leaves. Raises ClientDisconnect then."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
