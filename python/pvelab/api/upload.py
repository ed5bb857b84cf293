"""Receives a file: the form's fields first, the file last, streamed to disk."""

from __future__ import annotations

import secrets
from typing import Any

from aiohttp import BodyPartReader, web

from .body import decode_form
from .errors import ApiError
from .pve import Pve


async def receive(request: web.Request, pve: Pve) -> dict[str, Any]:
    """The parameters of an upload; `tmpfilename` is where the file was put."""
    kind = request.headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        raise ApiError(501, f"upload 'Content-Type '{kind}' not implemented")
    params: dict[str, Any] = decode_form(request.rel_url.raw_query_string)
    folder = pve.state / "upload"
    folder.mkdir(parents=True, exist_ok=True)
    reader = await request.multipart()
    while (part := await reader.next()) is not None:
        if not isinstance(part, BodyPartReader):
            raise ApiError(501, "wrong field in upload")
        if part.filename is None:
            params[str(part.name)] = (await part.read(decode=True)).decode("utf-8", "replace").strip("\r\n")
            continue
        params["filename"] = part.filename
        name = f"pveupload-{secrets.token_hex(16)}"
        with (folder / name).open("xb") as file:
            while chunk := await part.read_chunk(1 << 18):
                file.write(chunk)
        params["tmpfilename"] = f"/var/tmp/{name}"  # noqa: S108 - the name PVE gives it; the file is in our state
    return params
