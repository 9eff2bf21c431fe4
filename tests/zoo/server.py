"""An archive server on 127.0.0.1, a process of its own: files of a folder, with the faults that a plan beside them names."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["PLAN", "serve"]

PLAN = "plan.json"
"""{file: [fault of the first answer, of the second, ...]}; further answers have the last one's, "" is none."""
LONG = 30.0  # seconds that a stalling answer waits; a client gives up before


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root = Path()
    asked: Counter[str]

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.close_connection = True
        path = self.root / self.path.lstrip("/")
        plan_file = path.parent / PLAN
        plan = json.loads(plan_file.read_text()) if plan_file.is_file() else {}
        faults = plan.get(path.name, [""])
        fault = faults[min(self.asked[self.path], len(faults) - 1)]
        self.asked[self.path] += 1
        if fault == "hang up":
            return
        if fault.isdecimal() or not path.is_file():
            self.send_error(int(fault) if fault.isdecimal() else 404)
            return
        body = path.read_bytes()
        if path.suffix == ".json":
            host = f"http://127.0.0.1:{self.server.server_address[1]}"
            body = body.replace(b"{here}", f"{host}{os.path.dirname(self.path)}".encode())
        self._answer(fault, body)

    def _answer(self, fault: str, body: bytes) -> None:
        wanted = self.headers.get("Range", "") if fault != "no ranges" else ""
        start = int(wanted.removeprefix("bytes=").rstrip("-") or 0)
        rest = body[start:] if fault != "wrong bytes" else bytes(len(body) - start)
        if fault == "endless":
            self._endless()
            return
        if fault == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        self.send_response(206 if wanted else 200)
        if wanted:
            shown = start + (fault == "other range")
            self.send_header("Content-Range", f"bytes {shown}-{len(body) - 1}/{len(body)}")
        if fault == "negative length":
            self.send_header("Content-Length", "-5")
        elif fault == "word as length":
            self.send_header("Content-Length", "many")
        elif fault != "no length":
            length = {"long length": len(rest) + 1000, "short length": len(rest) // 2}.get(fault, len(rest))
            self.send_header("Content-Length", str(length))
        if fault == "chunked nonsense":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        cut = fault in ("breaks", "stalls")
        self.wfile.write(rest[: len(rest) // 2] if cut else rest[: len(rest) // 2] if fault == "short length" else rest)
        self.wfile.flush()
        if fault == "stalls":
            time.sleep(LONG)

    def _endless(self) -> None:
        """An answer without a length and without an end (well, of 3 GB)."""
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(b'{"files": [')
            for _ in range(3000):
                self.wfile.write(b" " * (1 << 20))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner = 0

    def service_actions(self) -> None:
        """Ends with the process that started it, however that ended."""
        if os.getppid() != self.owner:
            os._exit(0)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is nothing to speak of."""


@contextlib.contextmanager
def serve(root: Path) -> Iterator[str]:
    """Serves what lies below ``root``; yields the address. The server is a child without threads in the caller."""
    handler = type("Handler", (_Handler,), {"root": root, "asked": Counter()})
    server = _Server(("127.0.0.1", 0), handler)
    server.owner = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        server.serve_forever(poll_interval=0.5)
        os._exit(0)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    server.socket.close()
    try:
        yield address
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
