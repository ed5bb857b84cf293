"""Receives a file as PVE's server does: three known fields, then the file, streamed to disk.

What stands behind the file in the form belongs to the file; a field that is not known is an error or is
passed over, depending on where it stands.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any, BinaryIO

from aiohttp import web

from .body import PERL, decode_form
from .errors import ApiError, PlainError, existing, refuse_if
from .pve import Pve

NEWLINE = rb"\r?\n"
FIELDS = ("content", "checksum-algorithm", "checksum")
CHUNK = 1 << 18


class Form:
    """One multipart form on its way in."""

    def __init__(self, boundary: bytes, params: dict[str, Any], file: BinaryIO) -> None:
        self.params, self.file = params, file
        self.delimiter = b"--" + re.escape(boundary) + NEWLINE
        self.close = re.compile(rb"\A(.*?)(?:\r?\n)?--" + re.escape(boundary) + b"--", re.DOTALL)
        self.reserve = len(boundary) + 8
        self.rest = b""
        self.phase = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self.rest += data
        if self.phase == 0:
            found = re.search(self.delimiter, self.rest)
            if found:
                self.rest, self.phase = self.rest[found.start() :], 1
        if self.phase == 1:
            for name in FIELDS:
                self._field(name)
            self._begin_file()
        if self.phase == 2:
            self._store()

    def _field(self, name: str) -> None:
        pattern = rb'\A%s.*?Content-Disposition: (.*?); name="%s"(.*?%s)'
        found = re.match(pattern % (self.delimiter, name.encode(), self.delimiter), self.rest, re.DOTALL)
        if not found:
            return
        _assert_form(found[1])
        rest = _without_headers(found[2] + self.rest[found.end() :])
        following = re.search(self.delimiter, rest)
        value, self.rest = (rest[: following.start()], rest[following.start() :]) if following else (b"", rest)
        self.params[name] = value.strip().decode("utf-8", "replace")

    def _begin_file(self) -> None:
        pattern = rb'\A%sContent-Disposition: (.*?); name="(.*?)"; filename="([^"]+)"' % self.delimiter
        found = re.match(pattern, self.rest, re.DOTALL)
        if not found:
            return
        _assert_form(found[1])
        if found[2] != b"filename":
            name = found[2].decode("utf-8", "replace")
            raise PlainError(
                500, f"wrong field name '{name}' for file upload, expected 'filename'{PERL.format(1322)}\n"
            )
        self.params["filename"] = found[3].strip().decode("utf-8", "replace")
        self.rest = _without_headers(self.rest[found.end() :])
        self.phase = 2

    def _store(self) -> None:
        found = self.close.match(self.rest)
        if found:
            self.file.write(found[1])
            self.rest, self.phase = b"", 100
        elif len(self.rest) > self.reserve:
            self.file.write(self.rest[: -self.reserve])
            self.rest = self.rest[-self.reserve :]


def _without_headers(data: bytes) -> bytes:
    return re.sub(rb"\A.*?(?:\r?\n){2}", b"", data, count=1, flags=re.DOTALL)


def _assert_form(kind: bytes) -> None:
    if kind != b"form-data":
        text = kind.decode("utf-8", "replace")
        raise PlainError(500, f"wrong Content-Disposition '{text}' in multipart, expected 'form-data'\n")


async def receive(request: web.Request, pve: Pve) -> dict[str, Any]:
    """The parameters of an upload; `tmpfilename` is where the file was put."""
    params: dict[str, Any] = decode_form(request.rel_url.raw_query_string)
    if not request.content_length:
        return params
    kind = request.headers.get("Content-Type", "")
    boundary = re.match(r"multipart/form-data\s*;.*?boundary=\"?([^\";,]+)", kind, re.I)
    found = existing(boundary, ApiError(501, f"upload 'Content-Type '{kind}' not implemented"))
    refuse_if("tmpfilename" in params, ApiError(501, "'tmpfilename' query parameter is not allowed for file uploads\n"))
    folder = pve.state / "upload"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"pveupload-{secrets.token_hex(16)}"
    try:
        await _stream(request, found[1].strip().encode(), params, temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    params["tmpfilename"] = f"/var/tmp/{temporary.name}"  # noqa: S108 - the name PVE gives it; it is in our state
    return params


async def _stream(request: web.Request, boundary: bytes, params: dict[str, Any], target: Path) -> None:
    with target.open("xb") as file:
        form = Form(boundary, params, file)
        async for chunk in request.content.iter_chunked(CHUNK):
            if form.phase != 100:
                form.feed(chunk)
    if form.phase != 100:
        raise PlainError(500, f"upload failed{PERL.format(1367)}\n")
