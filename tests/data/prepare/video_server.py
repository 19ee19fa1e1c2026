"""A web server on 127.0.0.1 that serves videos, and behaves as badly as some do."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class VideoServer(ThreadingHTTPServer):
    """Serves `video` at /<id>.mp4; what comes before a digit in the id says how.

    gone: 404; busy: 429; flaky: 503 the first time; cut: half of the bytes each time; cutonce: half the first time, the
    rest for a Range after that; nolength: half, without saying how many there are; slow: a kilobyte now and then
    until `release` is set; drip, drippage, driphead: a video, a page, a header, one byte at a time; page: a web page
    instead of a video; notvideo: bytes that are none.
    """

    daemon_threads = True

    def __init__(self, video: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.video = video
        self.requests: Counter[str] = Counter()  # by id
        self.times: dict[str, float] = {}  # of the first request for an id
        self.cookies: set[str] = set()
        self.release = threading.Event()
        self.mended = False  # whether cut videos come whole now

    @property
    def url_template(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{{id}}.mp4"


class Handler(BaseHTTPRequestHandler):
    server: VideoServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.strip("/").removesuffix(".mp4")
        kind = name.rstrip("0123456789")
        self.server.requests[name] += 1
        self.server.times.setdefault(name, time.monotonic())
        self.server.cookies.add(self.headers.get("Cookie", ""))
        if kind == "gone":
            self.send_error(404)
        elif kind == "busy":
            self.send_error(429)
        elif kind == "flaky" and self.server.requests[name] == 1:
            self.send_error(503)
        elif kind == "page":
            self.reply(b"<html><body>Please log in</body></html>", content_type="text/html")
        elif kind == "notvideo":
            self.reply(b"not a video " * 1000)
        elif kind == "slow" and not self.server.release.is_set():
            self.reply(self.server.video, send=self.dribble)
        elif kind == "drip":
            self.reply(self.server.video, send=self.drip)
        elif kind == "drippage":
            self.reply(b"<" * 1000, send=self.drip, content_type="text/html")
        elif kind == "driphead":
            with suppress(OSError):
                self.drip(b"H" * 1000)
        elif kind == "nolength":
            self.reply(self.server.video, send=self.half, length=False)
        elif kind == "cut" and not self.server.mended:
            self.reply(self.server.video, send=self.half)
        elif kind == "cutonce":
            self.resumable()
        else:
            self.reply(self.server.video)

    def resumable(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start:
            rest = self.server.video[start:]
            content_range = f"bytes {start}-{len(self.server.video) - 1}/{len(self.server.video)}"
            self.reply(rest, status=206, content_range=content_range)
        else:
            self.reply(self.server.video, send=self.half)

    def reply(self, body, send=None, status=200, content_type="video/mp4", content_range="", length=True):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if length:
            self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        try:
            (send or self.wfile.write)(body)
        except OSError:
            pass  # the client has had enough

    def half(self, body: bytes) -> None:
        self.wfile.write(body[: len(body) // 2])

    def drip(self, body: bytes) -> None:
        for position in range(len(body)):
            self.wfile.write(body[position : position + 1])
            if self.server.release.wait(0.2):
                return

    def dribble(self, body: bytes) -> None:
        for position in range(0, len(body), 1024):
            if not self.server.release.is_set():
                time.sleep(0.05)
            self.wfile.write(body[position : position + 1024])


@contextmanager
def serving(video: bytes) -> Iterator[VideoServer]:
    server = VideoServer(video)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.release.set()
        server.shutdown()
        thread.join()
        server.server_close()
