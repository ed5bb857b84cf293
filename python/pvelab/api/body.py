"""Reads what a client sent the way PVE's own server does: urlencoded or JSON, query over body."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote_to_bytes

from .errors import ApiError

Params = dict[str, Any]
LIMIT = 512 * 1024


def decode_form(text: str) -> Params:
    """Parameters of a form or query: a repeated key makes a list, a key without value None."""
    found: Params = {}
    for part in re.split(r"[&;]", text) if text else []:
        pieces = part.split("=")
        name = _unescape(pieces[0])
        value: Any = _unescape(pieces[1]) if len(pieces) > 1 and pieces[1] != "" else None
        if value is not None and found.get(name) is not None:
            before = found[name]
            value = [*before, value] if isinstance(before, list) else [before, value]
        found[name] = value
    return found


def _unescape(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")


def decode_json(data: bytes) -> Params:
    """Parameters of a JSON body; numbers become texts, as Perl sees them."""
    try:
        found = json.loads(data)
    except ValueError:
        raise ApiError(500, "malformed JSON string, neither tag, array, object, number, string or atom") from None
    if not isinstance(found, dict):
        raise ApiError(500, "Not a HASH reference")
    return {name: _perlish(value) for name, value in found.items()}


def _perlish(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, list):
        return [_perlish(item) for item in value]
    if isinstance(value, dict):
        return {name: _perlish(item) for name, item in value.items()}
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def content_type(header: str | None) -> str | None:
    """The media type alone, in lower case."""
    return header.split(";")[0].strip().lower() if header else None


def parameters(method: str, query: str, kind: str | None, data: bytes) -> Params:
    """All parameters of a request; those of the query win."""
    found: Params = {}
    if method in ("PUT", "POST") and data:
        found = decode_json(data) if kind == "application/json" else decode_form(data.decode("utf-8", "replace"))
    found |= decode_form(query)
    found.pop("_dc", None)
    return found


def normalize(params: Params, schema: dict[str, dict[str, Any]]) -> None:
    """Lists where `-list` texts are wanted are joined, texts where arrays are wanted are wrapped."""
    for name, value in params.items():
        known = schema.get(name)
        if not known or not value or value == "0":
            continue
        if isinstance(value, list) and known.get("type") == "string":
            if isinstance(known.get("format"), str) and known["format"].endswith("-list"):
                params[name] = ",".join(str(item) for item in value)
        elif isinstance(value, str) and known.get("type") == "array":
            params[name] = [value]


def settle(params: Params) -> Params:
    """After validation: JSON booleans as PVE's 1 and 0, keys without value dropped."""
    plain = {True: "1", False: "0"}
    return {k: plain[v] if isinstance(v, bool) else v for k, v in params.items() if v is not None}
