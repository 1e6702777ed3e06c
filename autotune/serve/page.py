"""The page at ``/``: its files, and what a browser may do with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

__all__ = ["PAGE_PATHS", "page_routes"]

_FILES = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_BESIDE = ("page.css", "page.js", "state.js", "microphone.js", "recorder.js")
PAGE_PATHS = {"/": "page.html", **{f"/{name}": name for name in _BESIDE}}
"""Path of a request → file. They are answered without a key: the page asks its user for one."""

_HEADERS = {
    # The page's own files and this server, nothing else: what a text holds can't load or run anything.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Asked again each time (by ETag): files of two versions don't fit together.
    "Cache-Control": "no-cache",
}


def page_routes() -> list[Route]:
    """The routes of the page's files."""
    return [Route(path, _sender(_FILES / name)) for path, name in PAGE_PATHS.items()]


def _sender(file: Path) -> Callable[[Request], Awaitable[Response]]:
    async def send(_: Request) -> Response:
        return FileResponse(file, media_type=f"{_TYPES[file.suffix]}; charset=utf-8", headers=_HEADERS)

    return send
