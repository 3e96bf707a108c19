"""A small HTTP server on this machine that breaks, lies and redirects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server does. answers: one a request, the last one again and again; requests: headers of each GET."""

    answers: list[Callable[[Handler], None]] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    head_length: int | None = None
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    """Hands each request to the site's next answer."""

    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.site.requests.append(dict(self.headers))
        answers = self.site.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)
        self.close_connection = True

    def do_HEAD(self) -> None:
        self.send_response(200)
        if self.site.head_length is not None:
            self.send_header("Content-Length", str(self.site.head_length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def serve(
    data: bytes,
    *,
    stop: int | None = None,
    length: int | None = -1,
    etag: str | None = '"one"',
    kind: str = "application/octet-stream",
    ranges: bool = True,
    shift: int = 0,
) -> Callable[[Handler], None]:
    """The file, or its rest. stop: how many bytes come before the connection breaks. length: that is told; -1 is the
    true one, None none. shift: by how much a rest begins elsewhere than was asked for.
    """

    def answer(handler: Handler) -> None:
        begin = 0
        asked = handler.headers.get("Range")
        if ranges and asked and handler.headers.get("If-Range") == etag:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = data[begin:]
        handler.send_response(206 if begin else 200)
        if begin:
            at = begin + shift
            handler.send_header("Content-Range", f"bytes {at}-{len(data) - 1}/{len(data)}")
        if length is not None:
            handler.send_header("Content-Length", str(len(body) if length == -1 else length))
        if etag is not None:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        handler.wfile.write(body if stop is None else body[:stop])

    return answer


def status(code: int, **headers: str) -> Callable[[Handler], None]:
    """An answer without a file."""

    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def running() -> Iterator[Site]:
    """The site while entered."""
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    site.address = f"http://127.0.0.1:{server.server_address[1]}/x.pkl"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
