"""A stand-in for vLLM in a lab: its API over a small model that llama.cpp's own server runs in this process.

`server.py --config FILE`: vLLM's options, as JSON, which is YAML too. `/v1/models`, `/v1/chat/completions`,
`/v1/completions`, `/health`, `/version` and `/metrics` are there; the rest of vLLM's API is refused.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

MODEL = Path("/usr/share/models/SmolLM2-135M-Instruct.Q4_1.gguf")
NAME = "SmolLM2-135M by llama.cpp (xllamacpp 2026.10.11549)"
VERSION = "0.32.0"  # whose API it follows
INSIDE = 18008
TRAINED = 8192  # tokens of context that the model knows
SLOTS = 4  # requests at a time, at most; more wait
KEPT = 16384  # tokens of all contexts together; their cache takes 400 MB
KNOWN = {"model", "served-model-name", "max-model-len", "max-num-seqs", "kv-cache-dtype", "host", "port"}
CHATS = ("/v1/chat/completions", "/v1/completions")
ABSENT = ("/v1/", "/tokenize", "/detokenize", "/pooling", "/score", "/rerank", "/invocations", "/classify")
METRICS = {  # of llama.cpp -> of vLLM
    "llamacpp:requests_processing": ("gauge", "vllm:num_requests_running"),
    "llamacpp:requests_deferred": ("gauge", "vllm:num_requests_waiting"),
    "llamacpp:prompt_tokens_total": ("counter", "vllm:prompt_tokens_total"),
    "llamacpp:tokens_predicted_total": ("counter", "vllm:generation_tokens_total"),
}
_MOST = 32 << 20  # bytes of a request
_PATIENCE = 600.0  # seconds: a request may wait for its turn


class Refused(Exception):
    """What the client is told, in vLLM's words for it."""

    def __init__(self, status: int, kind: str, text: str) -> None:
        super().__init__(text)
        self.status, self.kind, self.text = status, kind, text


def _absent(what: str) -> Refused:
    return Refused(501, "NotImplementedError", f"this is a stand-in ({NAME}), which has no {what}")


class Server(ThreadingHTTPServer):
    """The one process."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: dict[str, Any]) -> None:
        self.names = list(options.get("served-model-name") or [options["model"]])
        self.context = min(int(options.get("max-model-len") or TRAINED), TRAINED)
        slots = max(1, min(int(options.get("max-num-seqs") or SLOTS), SLOTS, KEPT // self.context))
        self.llama = _llama(self.names[0], self.context, slots)
        super().__init__((options.get("host") or "0.0.0.0", int(options.get("port") or 8000)), Handler)  # noqa: S104

    @contextmanager
    def asked(self, method: str, path: str, body: bytes | None = None) -> Iterator[http.client.HTTPResponse]:
        """What llama.cpp's server answers."""
        with closing(http.client.HTTPConnection("127.0.0.1", INSIDE, timeout=_PATIENCE)) as link:
            link.request(method, path, body, {"Content-Type": "application/json"})
            with link.getresponse() as answer:
                yield answer

    def metrics(self) -> str:
        """Those of vLLM's that can be told here."""
        with self.asked("GET", "/metrics") as answer:
            told = dict(re.findall(r"^(llamacpp:\w+) ([0-9.e+-]+)$", answer.read().decode(), re.MULTILINE))
        lines = []
        for theirs, (kind, ours) in METRICS.items():
            lines += [f"# TYPE {ours} {kind}", f'{ours}{{model_name="{self.names[0]}"}} {told.get(theirs, 0)}']
        return "\n".join(lines) + "\n"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 300
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing for each request."""

    def _send(self, status: int, content: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _serve(self) -> None:
        path = self.path.partition("?")[0]
        try:
            if self.command == "POST" and path in CHATS:
                self._pass_on(path, self._checked(self._read()))
            elif self.command == "GET" and path == "/health":
                self._send(200, b"")
            elif self.command == "GET" and path == "/metrics":
                self._send(200, self.server.metrics().encode(), "text/plain; version=0.0.4")
            else:
                self._send(200, json.dumps(self._told(path)).encode())
        except Refused as error:
            told = {"message": error.text, "type": error.kind, "param": None, "code": error.status}
            self._send(error.status, json.dumps({"error": told}).encode())
        except (
            OSError,
            http.client.HTTPException,
        ):  # the client went, or llama.cpp's server did: it starts with us only
            self.close_connection = True

    def _told(self, path: str) -> Any:
        if self.command == "GET" and path == "/version":
            return {"version": VERSION, "stand_in": NAME}
        if self.command == "GET" and path == "/v1/models":
            about = {"object": "model", "owned_by": "vllm", "root": NAME, "max_model_len": self.server.context}
            return {"object": "list", "data": [{"id": name, **about} for name in self.server.names]}
        if path.startswith(ABSENT) and path not in CHATS:
            raise _absent(path)
        raise Refused(404, "NotFoundError", f"there is no {self.command} {path}")

    def _read(self) -> Any:
        size = int(self.headers.get("Content-Length") or 0)
        if size > _MOST:
            self.close_connection = True
            raise Refused(413, "BadRequestError", f"a request has at most {_MOST} bytes")
        try:
            return json.loads(self.rfile.read(size))
        except ValueError as error:
            raise Refused(400, "BadRequestError", f"the body is no JSON: {error}") from error

    def _checked(self, body: Any) -> bytes:
        if not isinstance(body, dict):
            raise Refused(400, "BadRequestError", "the body is no object")
        if body.get("model") not in self.server.names:
            raise Refused(404, "NotFoundError", f"The model `{body.get('model')}` does not exist.")
        for word in ("tools", "guided_json", "structured_outputs", "logprobs", "prompt_logprobs"):
            if body.get(word):
                raise _absent(f"`{word}`")
        return json.dumps(body).encode()

    def _pass_on(self, path: str, body: bytes) -> None:
        with self.server.asked("POST", path, body) as answer:
            kind = answer.getheader("Content-Type") or "application/json"
            if "event-stream" not in kind:
                self._send(answer.status, answer.read(), kind)
                return
            self.send_response(answer.status)
            self.send_header("Content-Type", kind)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while part := answer.read1(65536):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_DELETE = _serve


def _llama(name: str, context: int, slots: int) -> Any:
    """llama.cpp's server in this process, on a port of the loopback; one thread, since two wait for each other."""
    import xllamacpp

    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(MODEL)
    wanted.model_alias = {name}
    wanted.hostnames, wanted.port = ["127.0.0.1"], INSIDE
    wanted.n_ctx, wanted.n_parallel, wanted.kv_unified = context * slots, slots, False
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.sampling.temp = 0.0  # where a request says nothing; a model of this size wanders off with more
    wanted.use_jinja = False  # its own template tells it a name, which makes its answers worse
    wanted.ui, wanted.endpoint_metrics, wanted.endpoint_slots = False, True, False
    wanted.verbosity = 1
    return xllamacpp.Server(wanted)


def _ended(*_: object) -> NoReturn:
    raise SystemExit(0)


def main() -> None:
    """Serves until it is told to end."""
    arguments = argparse.ArgumentParser(prog="vllm serve", description=__doc__)
    arguments.add_argument("--config", type=Path, required=True, metavar="FILE")
    options = json.loads(arguments.parse_args().config.read_text())
    if unknown := sorted(set(options) - KNOWN):
        sys.exit(f"error: this stand-in ({NAME}) has no option {', '.join(unknown)}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _ended)
    server = Server(options)
    sys.stderr.write(f"Application startup complete: {', '.join(server.names)}, in its place {NAME}\n")
    server.serve_forever()


if __name__ == "__main__":
    main()
