"""The HTTP side: formats, order of checks, errors in the reason phrase and the body."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from . import body, faults, pages, permissions, registry
from .auth import AuthFailed, credentials
from .errors import ApiError, PlainError, denied, refuse_if
from .pve import Pve
from .registry import Call
from .rows import JsonText, dumps
from .schema import validate
from .surface import entry
from .upload import receive
from .web import hdrs, web

LOG = logging.getLogger("pvelab")
BASE = re.compile(r"/api2/+([a-z][a-z0-9]+)(/.*)?", re.S)
SERVER = "pve-api-daemon/3.0"
UPLOAD = re.compile(r"/nodes/[^/]+/storage/([^/]+)/upload")
JSON_TYPE = "application/json;charset=UTF-8"
PENALTY = 3.0
CLOCK = "pvelab-clock"
NO_DATA = '{"data":null'


class BareResponse(web.Response):
    """A response without a content type, as PVE answers before it knows a formatter."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall(hdrs.CONTENT_TYPE, None)


class Dropped(Exception):
    """A fault asks for the connection to be cut."""


@dataclass
class Answer:
    """What the API found: kept apart from how a format prints it."""

    status: int = 200
    data: Any = None
    message: str = ""
    errors: dict[str, str] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


class Server:
    """Answers every request of one emulated Proxmox VE."""

    def __init__(self, pve: Pve) -> None:
        self.pve = pve
        self.pool = ThreadPoolExecutor(64, thread_name_prefix="call")

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Entry point of aiohttp."""
        started = time.monotonic()
        try:
            response, user = await self._respond(request, started)
        except Dropped:
            if request.transport:
                request.transport.abort()
            self.pve.faults.record(request.method, _path(request), "", 0)
            raise asyncio.CancelledError from None
        _common_headers(response, request)
        if rule := request.get(CLOCK):
            response.headers[hdrs.DATE] = faults.date(rule)
        if response.status >= 400:
            response.force_close()
        if "/pvelab/" not in request.path:
            self.pve.faults.record(request.method, _path(request), user, response.status)
        return response

    async def _respond(self, request: web.Request, started: float) -> tuple[web.Response, str]:
        refused = _refused_head(request)
        if refused:
            return refused, ""
        matched = BASE.fullmatch(_path(request))
        if not matched:
            if _path(request).startswith("/api2"):
                return _plain(501, "no such uri"), ""
            return _plain(500, f"no such file '{_path(request)}'\n"), ""
        form, path = matched.group(1), matched.group(2) or "/"
        method = request.method
        token = request.headers.get("Authorization", "").startswith("PVEAPIToken")
        found = self.pve.faults.strike(method, path, token)
        request[CLOCK] = found.get("clock")
        await _early_faults(found)
        upload = method == "POST" and UPLOAD.fullmatch(path)
        try:
            user = self._identify(request, method, path, bool(upload), "token-revoked" in found)
        except AuthFailed as error:
            await asyncio.sleep(PENALTY)
            if form == "html":
                return BareResponse(status=301, reason="Moved", headers={hdrs.LOCATION: pages.LOGIN}), ""
            return BareResponse(status=401, reason=str(error)), ""
        except ApiError as error:
            await asyncio.sleep(PENALTY)
            return BareResponse(status=error.status, reason=_reason(error.status, error.message)), ""
        wrong = _refused_body(request, bool(upload))
        if wrong:
            return wrong, user or ""
        if form not in pages.FORMATS:
            return _plain(501, f"no formatter for uri {path}, {form}"), user or ""
        if "status" in found:
            rule = found["status"]
            return _plain(int(rule.get("status", 500)), str(rule.get("message", "pvelab fault"))), user or ""
        by_token = bool(credentials(_proofs(request))[1])
        call = Call(self.pve, user or "", {}, method, path, faults=found, by_token=by_token)
        answer = await self._answer(request, call)
        if "drop-after" in found:
            raise Dropped
        if answer.status == 401:
            await asyncio.sleep(max(0.0, PENALTY - (time.monotonic() - started)))
        printed = _printed(answer, form, request)
        if "answer" in found:
            _spoil(printed, found["answer"], request)
        return printed, user or (str(answer.data.get("username", "")) if isinstance(answer.data, dict) else "")

    def _identify(self, request: web.Request, method: str, path: str, upload: bool, revoked: bool) -> str | None:
        user = self.pve.auth.identify(method, path, _proofs(request), upload)
        refuse_if(user and revoked, AuthFailed("Authentication failed!"))
        found = UPLOAD.fullmatch(path)
        if user and upload and found:
            self.pve.users.check(user, f"/storage/{found[1]}", ["Datastore.AllocateTemplate"])
        return user

    async def _answer(self, request: web.Request, call: Call) -> Answer:
        try:
            if call.method == "POST" and UPLOAD.fullmatch(call.path):
                sent = await receive(request, self.pve)
            else:
                data = await request.read() if request.can_read_body else b""
                kind = body.content_type(request.headers.get("Content-Type"))
                sent = body.parameters(call.method, request.rel_url.raw_query_string, kind, data)
            data = await self._run(self._prepare(call, sent), call)
            return Answer(200, data, attributes=call.attributes)
        except PlainError as error:
            return Answer(error.status, registry.Download(error.message.encode(), ""), error.message)
        except ApiError as error:
            self._forget_upload(call)
            return Answer(error.status, None, error.message, error.errors)
        except Exception as error:
            LOG.exception("%s %s failed", call.method, call.path)
            return Answer(500, None, f"pvelab: {type(error).__name__}: {error}\n")

    def _forget_upload(self, call: Call) -> None:
        """Removes the file of an upload that was refused."""
        name = str(call.params.get("tmpfilename") or "").rpartition("/")[2]
        if name.startswith("pveupload-") and call.path.endswith("/upload"):
            (self.pve.state / "upload" / name).unlink(missing_ok=True)

    def _prepare(self, call: Call, sent: dict[str, Any]) -> registry.Route:
        matched = registry.find(call.method, call.path)
        if matched is None:
            LOG.warning("not implemented: %s %s", call.method, call.path)
            raise registry.not_implemented(call.method, call.path)
        route, values = matched
        known = entry(call.method, route.template) or {}
        call.params = registry.merge(values, sent)
        if call.by_token and known.get("token") == 0:
            raise denied(f"URI '{call.path}' not available with API token, need proper ticket.\n")
        refuse_if(route.root_only and not call.is_root, denied("user != root@pam"))
        if known:
            permissions.check_endpoint(call, known.get("perm"))
            self._check_node(call.params.get(known.get("proxyto", "")))
            schema = route.schema
            body.normalize(call.params, schema)
            validate(call.params, schema, bool(known.get("open")))
        call.emptied = frozenset(name for name, value in call.params.items() if value is None)
        call.params = body.settle(call.params)
        return route

    def _check_node(self, node: Any) -> None:
        if node is None or node in (self.pve.node.name, "localhost"):
            return
        text = f"hostname lookup '{node}' failed - failed to get address info for: {node}: "
        raise ApiError(500, f"{text}Name or service not known\n")

    async def _run(self, route: registry.Route, call: Call) -> Any:
        if call.method == "GET" and not route.slow and self.pve.runtime.fresh:
            return route.handler(call)
        return await asyncio.get_running_loop().run_in_executor(self.pool, route.handler, call)


def malformed(request: web.BaseRequest) -> web.Response:
    """The answer to what is no HTTP at all."""
    response = _plain(400, "bad request")
    _common_headers(response, request)
    response.force_close()
    return response


def _common_headers(response: web.Response, request: web.BaseRequest) -> None:
    """What every answer carries: nothing of it may be kept, and whether the connection stays open."""
    now = formatdate(usegmt=True)
    response.headers[hdrs.SERVER] = SERVER
    response.headers[hdrs.DATE] = response.headers[hdrs.EXPIRES] = now
    response.headers[hdrs.CACHE_CONTROL] = "max-age=0"
    response.headers[hdrs.PRAGMA] = "no-cache"
    if response.status < 400 and request.keep_alive:
        response.headers[hdrs.CONNECTION] = "Keep-Alive"


def _proofs(request: web.Request) -> dict[str, str | None]:
    """The headers that say who asks."""
    names = {"cookie": "Cookie", "authorization": "Authorization", "csrf": "CSRFPreventionToken"}
    return {key: request.headers.get(name) for key, name in names.items()}


def _path(request: web.Request) -> str:
    return unquote(request.rel_url.raw_path)


def _refused_head(request: web.Request) -> web.Response | None:
    if request.version.major != 1:
        return _plain(506, f"http protocol version {request.version.major}.{request.version.minor} not supported")
    if request.method not in ("GET", "PUT", "POST", "DELETE"):
        return BareResponse(status=501, reason=f"method '{request.method}' not available")
    coding = request.headers.get("Transfer-Encoding")
    if coding:
        text = "chunked transfer encoding not supported"
        return _plain(501, text if coding.lower() == "chunked" else f"Unknown transfer encoding '{coding}'")
    return None


def _refused_body(request: web.Request, upload: bool) -> web.Response | None:
    length = request.content_length or 0
    if not length:
        return None
    if request.method not in ("PUT", "POST"):
        return _plain(501, f"Unexpected content for method '{request.method}'")
    if upload:
        return None
    if length > body.LIMIT:
        return _plain(501, "for data too large")
    header = request.headers.get("Content-Type")
    if body.content_type(header) not in (None, "application/x-www-form-urlencoded", "application/json"):
        return _plain(506, f"upload 'Content-Type '{header}' not implemented")
    return None


def _plain(status: int, text: str) -> web.Response:
    return BareResponse(status=status, reason=_reason(status, text), body=text.encode())


async def _early_faults(found: dict[str, dict[str, Any]]) -> None:
    if "delay" in found:
        await asyncio.sleep(float(found["delay"].get("seconds", 1)))
    if "drop-before" in found:
        raise Dropped


def _spoil(response: web.Response, rule: dict[str, Any], request: web.Request) -> None:
    """Another body than the right one, or the connection cut in the middle of it."""
    whole = response.body if isinstance(response.body, bytes) else b""
    if response.headers.pop(hdrs.CONTENT_ENCODING, None):
        whole = gzip.decompress(whole)
    if rule.get("body") == "cut" and request.transport:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON_TYPE}\r\nContent-Length: {len(whole)}\r\n\r\n"
        request.transport.write(head.encode() + faults.body(rule, whole))
        raise Dropped
    response.body = faults.body(rule, whole)


def _reason(status: int, message: str) -> str:
    first = message.lstrip("\n").split("\n")[0] if message else ""
    return first or HTTPStatus(status).phrase


def _as_json(new: dict[str, Any], data: Any) -> bytes:
    text = dumps(new)
    if isinstance(data, JsonText):
        text = f'{{"data":{data}{text.removeprefix(NO_DATA)}'
    return text.encode()


def _printed(answer: Answer, form: str, request: web.Request) -> web.Response:
    if isinstance(answer.data, registry.Download):
        if answer.status != HTTPStatus.OK:
            reason = _reason(answer.status, answer.message)
            if "\r" in reason:  # PVE's server trusts no reason phrase that came from the client like this
                return BareResponse(status=400, reason=HTTPStatus.BAD_REQUEST.phrase)
            return BareResponse(status=answer.status, reason=reason, body=answer.data.body)
        headers = {hdrs.CONTENT_TYPE: answer.data.kind, **answer.data.headers}
        return web.Response(body=answer.data.body, headers=headers)
    new: dict[str, Any] = {"data": None if isinstance(answer.data, JsonText) else answer.data}
    success = 1
    if answer.errors:
        new["errors"] = answer.errors
        success = 0
    status, message = answer.status, answer.message
    if form in ("extjs", "htmljs"):
        if status >= 400:
            success = 0
            new |= {"message": message, "status": status}
            status, message = 200, ""
        new["success"] = success
    elif form == "json" and status >= 400:
        new["message"] = message
    if success:
        new |= {k: v for k, v in answer.attributes.items() if v}
    if form not in ("json", "extjs") and isinstance(answer.data, JsonText):
        new["data"] = json.loads(answer.data)
    page = pages.rendered(form, new, answer.status, answer.message)
    raw, kind = page or (_as_json(new, answer.data), JSON_TYPE)
    response = web.Response(status=status, reason=_reason(status, message), body=raw)
    response.headers[hdrs.CONTENT_TYPE] = kind
    accepted = request.headers.get("Accept-Encoding", "")
    if len(raw) > 1024 and form != "png" and ("gzip" in accepted or "deflate" in accepted):
        coding = "gzip" if "gzip" in accepted else "deflate"
        response.body = gzip.compress(raw, 1) if coding == "gzip" else zlib.compress(raw, 1)
        response.headers[hdrs.CONTENT_ENCODING] = coding
    return response
