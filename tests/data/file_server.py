"""A web server of one folder, with ranges, that can be told to misbehave."""

import email.utils
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Fault = str | int | Callable[[], object]


class FileServer:
    """A context manager. ranges: whether it knows them; marks: whether it tells ETags; latency: seconds before each
    answer.

    faults: file name -> what happens at its next GETs, one each: a status; "stall" (half the answer, then silence);
    "cut" (half the answer, then the connection is closed); a function, called before the answer. all_faults: what
    happens at every GET. requests: (method, name, range) of all. sent: name -> bytes of bodies.
    """

    def __init__(self, folder: Path, ranges: bool = True, marks: bool = True, latency: float = 0.0) -> None:
        self.folder, self.ranges, self.marks, self.latency = folder, ranges, marks, latency
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.all_faults: dict[str, Fault] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.sent: dict[str, int] = defaultdict(int)
        self.closing = threading.Event()
        server = self

        class Handler(_Handler):
            files = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "FileServer":
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def gets(self, name: str) -> int:
        """How often a file was asked for."""
        return sum(method == "GET" and asked == name for method, asked, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: FileServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _answer(self, body: bool) -> None:
        files, name = self.files, self.path.lstrip("/")
        files.requests.append((self.command, name, self.headers.get("Range")))
        time.sleep(files.latency)
        fault: Fault | None = files.all_faults.get(name)
        if body and fault is None and files.faults[name]:
            fault = files.faults[name].pop(0)
        if callable(fault):
            fault()
        path = files.folder / name
        if isinstance(fault, int) or not path.is_file():
            self._refuse(fault if isinstance(fault, int) else HTTPStatus.NOT_FOUND)
            return
        data, status = path.read_bytes(), path.stat()
        first, last = self._range(len(data))
        piece = data[first : last + 1]
        self.send_response(HTTPStatus.OK if len(piece) == len(data) else HTTPStatus.PARTIAL_CONTENT)
        if len(piece) < len(data):
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(len(piece)))
        if files.marks:
            self.send_header("ETag", f'"{status.st_mtime_ns}-{len(data)}"')
            self.send_header("Last-Modified", email.utils.formatdate(status.st_mtime))
        self.send_header("Accept-Ranges", "bytes" if files.ranges else "none")
        self.end_headers()
        if body:
            self._send(piece, fault)

    def _range(self, size: int) -> tuple[int, int]:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if match is None or not self.files.ranges:
            return 0, size - 1
        return int(match[1]), min(size - 1, int(match[2] or size - 1))

    def _send(self, piece: bytes, fault: Fault | None) -> None:
        broken = fault in ("stall", "cut")
        piece = piece[: len(piece) // 2] if broken else piece
        self.wfile.write(piece)
        self.files.sent[self.path.lstrip("/")] += len(piece)
        if fault == "stall":
            self.files.closing.wait(60)
        if broken:
            self.close_connection = True

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
