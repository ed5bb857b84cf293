"""The formats that are no JSON: pages for browsers, and JSON inside of HTML for file forms."""

from __future__ import annotations

import html
import json
from typing import Any

HTML_TYPE = "text/html;charset=UTF-8"
FORMATS = ("json", "extjs", "htmljs", "html", "png")
LOGIN = "/api2/html/access/ticket"


def rendered(form: str, new: dict[str, Any], status: int, message: str) -> tuple[bytes, str] | None:
    """Body and content type of a format of its own, None for those that are plain JSON."""
    if form == "htmljs":
        return html.escape(json.dumps(new, separators=(",", ":"), ensure_ascii=False)).encode(), HTML_TYPE
    if form == "html":
        return _page(new, status, message).encode(), HTML_TYPE
    if form == "png":
        return b"", "image/png"
    return None


def _page(new: dict[str, Any], status: int, message: str) -> str:
    text = html.escape(json.dumps(new, indent=3, sort_keys=True, ensure_ascii=False))
    error = (
        f'<div class="alert alert-danger">{html.escape(f"Error {status}: {message}")}</div>' if status >= 400 else ""
    )
    return f"<!DOCTYPE html>\n<html><head><title>pvelab</title></head><body>{error}<pre>{text}</pre></body></html>\n"
