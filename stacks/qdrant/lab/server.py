"""A stand-in for Qdrant in a lab: its REST API over qdrant-edge, Qdrant's own engine for one shard.

`server.py --config-path FILE`: the settings that it knows of Qdrant's, as JSON, which is YAML too. gRPC, clusters, full
snapshots and what routes.py does not have are refused.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import routes
from access import Access
from store import Store
from wire import Json, Refused

TITLE = "qdrant - vector search engine"
VERSION = "1.20.0"  # whose API it follows
NAME = "stand-in over qdrant-edge 0.9.0"
WELL = ("/healthz", "/livez", "/readyz")


class Server(ThreadingHTTPServer):
    """The one process; what touches the store comes one after the other."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, settings: Mapping[str, Json]) -> None:
        service, storage = settings.get("service") or {}, settings.get("storage") or {}
        root = Path(storage.get("storage_path") or "/qdrant/storage")
        self.store = Store(root, Path(storage.get("snapshots_path") or root.parent / "snapshots"))
        self.access = Access(service, self.store.exists)
        self.most = (service.get("max_request_size_mb") or 32) << 20
        self.turn, self.answered, self.ended = threading.RLock(), Counter[tuple[str, int]](), False
        super().__init__((service.get("host") or "0.0.0.0", service.get("http_port") or 6333), Handler)  # noqa: S104

    def end(self) -> None:
        """What was begun is answered, and everything is on disk."""
        with self.turn:
            self.ended = True
            self.store.close()

    def metrics(self) -> str:
        """Those of Qdrant's that can be told here."""
        lines = ["# TYPE collections_total gauge", f"collections_total {len(self.store.collections)}"]
        lines.append("# TYPE collection_points gauge")
        lines += [f'collection_points{{id="{name}"}} {count}' for name, count in self.store.points().items()]
        lines.append("# TYPE rest_responses_total counter")
        for (method, status), count in self.answered.items():
            lines.append(f'rest_responses_total{{method="{method}",status="{status}"}} {count}')
        return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 300
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing for each request."""

    def _send(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.server.answered[self.command, status] += 1
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _serve(self) -> None:
        began, path = time.monotonic(), urllib.parse.urlparse(self.path).path
        if path in WELL:
            return self._send(200, b"healthz check passed", "text/plain")
        try:
            status, found = 200, self._answer(path)
        except Refused as error:
            if error.status == 401:
                return self._send(401, error.text.encode(), "text/plain")
            status, found = error.status, {"status": {"error": error.text}}
        except Exception as error:  # the engine has no class of its own for what it refuses
            status, found = 400, {"status": {"error": f"Wrong input: {type(error).__name__}: {error}"}}
        if isinstance(found, bytes):
            return self._send(status, found, "text/plain" if path == "/metrics" else "application/octet-stream")
        return self._send(status, json.dumps({"time": time.monotonic() - began, **found}).encode())

    def _answer(self, path: str) -> Any:
        size = int(self.headers.get("Content-Length") or 0)
        if size > self.server.most and not path.endswith("/snapshots/upload"):
            self.close_connection = True
            raise Refused(413, f"Payload too large: more than {self.server.most} bytes")
        raw = self.rfile.read(size)
        key = self.headers.get("api-key") or (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        with self.server.turn:
            if self.server.ended:
                raise Refused(503, "Service unavailable: it ends")
            self.server.access.require(key, self.command, path)
            if path == "/":
                return {"title": TITLE, "version": VERSION, "commit": NAME}
            if path == "/metrics":
                return self.server.metrics().encode()
            found = routes.answer(self.server.store, self.command, path, self._body(raw), raw)
        return found.path.read_bytes() if isinstance(found, routes.File) else {"result": found, "status": "ok"}

    def _body(self, raw: bytes) -> Json:
        if not raw or "multipart" in (self.headers.get("Content-Type") or ""):
            return {}
        return json.loads(raw)

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _serve


def _ended(*_: object) -> NoReturn:
    raise SystemExit(0)


def main() -> None:
    """Serves until it is told to end."""
    arguments = argparse.ArgumentParser(prog="qdrant", description=__doc__)
    arguments.add_argument("--config-path", type=Path, required=True, metavar="FILE")
    settings = json.loads(arguments.parse_args().config_path.read_text())
    signal.signal(signal.SIGTERM, _ended)
    signal.signal(signal.SIGINT, _ended)
    server = Server(settings)
    sys.stderr.write(f"{NAME}: {len(server.store.collections)} collections\n")
    try:
        server.serve_forever()
    finally:
        server.end()


if __name__ == "__main__":
    main()
