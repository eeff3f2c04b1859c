"""A server on this machine that speaks as much of the Hugging Face hub as an upload and a download need."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

COMMIT = "0123456789" * 4


class Hub(ThreadingHTTPServer):
    """Keeps the files of one repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.commits: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.requests.append(f"GET {self.path}")
        path = self.path.partition("?")[0]
        listing = [{"type": "file", "path": name, "oid": _oid(data), "size": len(data)}
                   for name, data in sorted(self.server.files.items())]  # fmt: skip
        if "/tree/" in path:
            self._answer(listing)
        elif "/resolve/" in path:
            self._file(path)
        else:
            siblings = [{"rfilename": entry["path"]} for entry in listing]
            self._answer({"id": "someone/thing", "sha": COMMIT, "siblings": siblings, "tags": []})

    def do_HEAD(self) -> None:
        self._file(self.path)

    def do_POST(self) -> None:
        self.server.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path.endswith("/repos/create"):
            self._answer({"url": f"{self.server.url}/someone/thing", "name": "someone/thing", "id": "someone/thing"})
        elif "/preupload/" in self.path:
            files = [{"path": entry["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                     for entry in json.loads(body)["files"]]  # fmt: skip
            self._answer({"files": files})
        elif "/commit/" in self.path:
            self._commit([json.loads(line) for line in body.splitlines()])
        else:
            self._answer({"errors": [], "warnings": []})

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.server.commits.append(value)
            elif line["key"] == "file":
                self.server.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                del self.server.files[value["path"]]
        self._answer({"commitUrl": f"{self.server.url}/someone/thing/commit/{COMMIT}", "commitOid": COMMIT})

    def _file(self, path: str) -> None:
        data = self.server.files[path.partition(f"/resolve/{COMMIT}/")[2]]
        self._answer(data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})

    def _answer(self, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def running_hub() -> Iterator[Hub]:
    with Hub() as hub:
        thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
