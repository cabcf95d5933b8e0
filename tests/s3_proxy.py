"""Between a client and an S3 server, on the loopback interface: keeps what was asked, and may answer itself."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    notes: dict[str, str] = field(default_factory=dict)
    """What the tests keep with it."""


@dataclass(frozen=True)
class Answer:
    """What to say in the server's place; a `Content-Length` beyond the body's makes one that breaks off.

    Status 0 is none: the connection is reset.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Proxy:
    endpoint: str
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Answer | None] = lambda _request: None
    """What to say in the server's place; None: ask it."""
    afterwards: Callable[[Request, Answer], Answer | None] = lambda _request, answer: answer
    """What the client gets of the server's answer; None: the connection is reset."""


@contextmanager
def proxy(upstream: str | None = None) -> Iterator[Proxy]:
    """Hand requests on to `upstream`, but for those that `answer` answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # which waits 40 ms for a client that waits for it

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = Request(self.command, self.path, dict(self.headers.items()))
            through.requests.append(request)
            answer = through.answer(request)
            if answer is None:
                answer = through.afterwards(request, _ask(upstream, request, body))
            if answer is None or not answer.status:
                self._reset()
                return
            self.send_response_only(answer.status)
            for name, value in ({"Content-Length": str(len(answer.body))} | dict(answer.headers)).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            self.close_connection = int(answer.headers.get("Content-Length", 0)) != len(answer.body)

        def _reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    through = Proxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield through
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _ask(upstream: str | None, request: Request, body: bytes) -> Answer:
    assert upstream is not None
    connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=60)
    try:
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            if name.lower() not in ("expect", "connection"):
                connection.putheader(name, value)  # `Host` too: it is signed
        connection.endheaders(body)
        response = connection.getresponse()
        kept = {
            name: value
            for name, value in response.getheaders()
            if name.lower() not in ("connection", "transfer-encoding", "keep-alive")
        }
        data = response.read()
        return Answer(
            response.status, data, kept if request.method == "HEAD" else kept | {"Content-Length": str(len(data))}
        )
    finally:
        connection.close()
