"""Digests: how a client says which state of a file it means to change."""

from __future__ import annotations

import hashlib
import json

CHANGED = "detected modified configuration - file changed by other user? Try again."


def digest(content: object) -> str:
    """The digest of a text, or of anything that JSON can hold."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
