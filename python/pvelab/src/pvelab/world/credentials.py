"""What of the operator's environment and settings others' programs get to see, in builds and in guests: no credentials.

How package clients find their registries passes; what they log in with does not, unless the operator asks for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

ASKED = "PVELAB_CREDENTIALS"
"""Environment variable: with `1`, builds get what package clients log in with."""
# What programs of the machine itself need: nothing that only the operator's other programs use.
_NEEDED = re.compile(
    r"PATH|LANG|LC_\w+|TZ|TERM|TMPDIR|PVELAB_\w+|(https?|no|ftp|all)_proxy|(SSL_CERT|CURL_CA|REQUESTS_CA)_\w+",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"token|passw|secret|auth|credential|user|apikey|api_key|identity|private|keyring|session", re.IGNORECASE
)
_IN_URL = re.compile(r"(\w://)[^/@\s'\"<>]*@")
_SERVERS = re.compile(r"<servers>.*?</servers>", re.DOTALL)  # of Maven's settings.xml


def environment(present: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of every program that the lab starts on the machine."""
    found = os.environ if present is None else present
    return {"HOME": "/root", **{key: value for key, value in found.items() if _NEEDED.fullmatch(key)}}


def asked() -> bool:
    """True when the operator wants builds to have what package clients log in with."""
    return os.environ.get(ASKED, "") not in ("", "0", "no")


def without(text: str) -> str:
    """Settings of a package client without what it logs in with: in addresses, or in a line of its own."""
    lines = _SERVERS.sub("", text).splitlines(keepends=True)
    return "".join(_IN_URL.sub(r"\1", line) for line in lines if not names_one(_key(line)))


def names_one(key: str) -> bool:
    """True for the name of a setting that holds a credential."""
    return bool(_SECRET.search(key))


def _key(line: str) -> str:
    """What a line sets: `KEY = VALUE`, `KEY: VALUE` or `<KEY>VALUE</KEY>`."""
    tag = re.match(r"\s*<([\w.-]+)>", line)
    if tag:
        return tag[1]
    return line.partition("=")[0] if "=" in line else ""
