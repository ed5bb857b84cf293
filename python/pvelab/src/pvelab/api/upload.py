"""Receives a file as PVE's server does: three known fields in their order, then the file, streamed to disk."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Any

from .body import PERL, decode_form
from .errors import ApiError, PlainError, refuse_if
from .pve import Pve
from .web import BodyPartReader, web

FIELDS = ("content", "checksum-algorithm", "checksum")
CHUNK = 1 << 18


async def receive(request: web.Request, pve: Pve) -> dict[str, Any]:
    """The parameters of an upload; `tmpfilename` is where the file was put."""
    params: dict[str, Any] = decode_form(request.rel_url.raw_query_string)
    if not request.content_length:
        return params
    kind = request.headers.get("Content-Type", "")
    wrong = not re.match(r"multipart/form-data\s*;.*?boundary=", kind, re.I)
    refuse_if(wrong, ApiError(501, f"upload 'Content-Type '{kind}' not implemented"))
    refuse_if("tmpfilename" in params, ApiError(501, "'tmpfilename' query parameter is not allowed for file uploads\n"))
    folder = pve.state / "upload"
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"pveupload-{secrets.token_hex(16)}"
    try:
        await _stream(request, params, temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    params["tmpfilename"] = f"/var/tmp/{temporary.name}"  # noqa: S108 - the name PVE gives it; it is in our state
    return params


async def _stream(request: web.Request, params: dict[str, Any], target: Path) -> None:
    failed, known = PlainError(500, f"upload failed{PERL.format(1367)}\n"), list(FIELDS)
    try:
        async for part in await request.multipart():
            refuse_if(not isinstance(part, BodyPartReader), failed)
            assert isinstance(part, BodyPartReader)
            if part.filename:
                return await _store(part, params, target)
            if part.name in known:  # one that stands before its turn is passed over
                del known[: known.index(part.name) + 1]
                params[part.name] = (await part.text()).strip()
    except ValueError:
        raise failed from None
    raise failed


async def _store(part: BodyPartReader, params: dict[str, Any], target: Path) -> None:
    """Writes the file; what follows it is not looked at."""
    if part.name != "filename":
        text = f"wrong field name '{part.name}' for file upload, expected 'filename'{PERL.format(1322)}\n"
        raise PlainError(500, text)
    params["filename"] = str(part.filename).strip()
    with target.open("xb") as file:
        while chunk := await part.read_chunk(CHUNK):
            file.write(chunk)
