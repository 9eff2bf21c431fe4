"""A server that breaks off, stalls, lies about lengths and serves the wrong bytes; and small archives for it."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from benchmarks.tasks.download import Fetch, RemoteFile
from benchmarks.tasks.registry import TaskSpec
from benchmarks.tasks.writer import Clip, write_task_folder

QUICK = Fetch(timeout_s=0.3, attempts=2, pause_s=0.01)
NAME = "hear2021-esc50-v2.0.0-full-48000.tar.gz"
BODY = np.random.default_rng(0).bytes(1 << 20)


class Server(ThreadingHTTPServer):
    """Serves ``files`` with one fault per answer from ``faults`` (none left: no fault); remembers the ranges asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.let_go = threading.Event()  # ends the answers that wait
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is what these tests are about."""


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.close_connection = True
        fault = self.server.faults.pop(0) if self.server.faults else ""
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)
        body = self.server.files.get(self.path)
        if body is None or fault.isdecimal():
            self.send_error(int(fault) if fault.isdecimal() else 404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fault != "no ranges" else 0
        shown = start + 1 if fault == "other range" else start
        rest = body[start:]
        if fault == "wrong bytes":
            rest = b"\0" * len(rest)
        if fault == "too much":
            rest += b"more"
        if fault in ("chunks end", "no length"):
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked") if fault == "chunks end" else None
            self.end_headers()
            self.wfile.write(b"%x\r\n" % len(rest) if fault == "chunks end" else b"")
            self.wfile.write(rest[: len(rest) // 2])
            return
        length = len(rest) // 2 if fault == "short length" else len(rest)
        self.send_response(206 if wanted and fault != "no ranges" else 200)
        if wanted and fault != "no ranges":
            self.send_header("Content-Range", f"bytes {shown}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(length + 1000 if fault == "long length" else length))
        self.end_headers()
        if fault in ("breaks", "stalls", "short length", "waits", "reset"):
            self.wfile.write(rest[: len(rest) // 2])
            self.wfile.flush()
            if fault == "reset":  # a close that lingers for no time is a reset
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if fault == "stalls":
                time.sleep(0.8)
            if fault == "waits":
                self.server.let_go.wait(120)
        elif fault != "nothing":
            self.wfile.write(rest)


def offer(server: Server, name: str = NAME, body: bytes = BODY, md5: str | None = None) -> RemoteFile:
    server.files[f"/{name}"] = body
    return RemoteFile(name, len(body), md5 or hashlib.md5(body).hexdigest(), f"{server.url}/{name}")


def record(server: Server, *files: RemoteFile) -> str:
    entries = [{"key": f.name, "size": f.size, "checksum": f"md5:{f.md5}", "links": {"self": f.url}} for f in files]
    server.files["/record"] = json.dumps({"id": 1, "files": entries}).encode()
    return f"{server.url}/record"


def archive(
    folder: Path, spec: TaskSpec, extra: Callable[[tarfile.TarFile], None] | None = None, top: str = ""
) -> bytes:
    """A small task in an archive as the official ones are laid out."""
    clips = {
        split: [Clip(f"{split}.wav", ["dog" if index % 2 else "hen"], 0.1 * np.sin(np.arange(480) / 9), 48000)]
        for index, split in enumerate(spec.splits)
    }
    task = write_task_folder(folder, {**spec.to_metadata(), "sample_duration": 0.01}, clips, 48000, overwrite=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        tar.add(task.path, top or f"hear-2021.0.6/tasks/{spec.folder_name}")
        if extra is not None:
            extra(tar)
    return packed.getvalue()


def extra_file(name: str, content: bytes) -> Callable[[tarfile.TarFile], None]:
    def add(tar: tarfile.TarFile) -> None:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))

    return add
