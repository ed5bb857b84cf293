"""Fetches the key of a package source, unless it is there: URL, FINGERPRINT, FILE. Another key is not kept."""

import base64
import hashlib
import os
import re
import sys
import urllib.request

LIMIT = 1 << 20


def fingerprint(armored: str) -> str:
    """The fingerprint of the primary key, which comes first: the hash of its packet (RFC 4880, 12.2)."""
    body = re.search(r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(?:.+\n)*\n((?:[A-Za-z0-9+/=]+\n)+?)(?:=|-)", armored)
    if not body:
        return ""
    data = base64.b64decode(body[1])
    if data[0] & 0x40:  # a packet of the new format
        tag, start = data[0] & 0x3F, 2 if data[1] < 192 else 3
        size = data[1] if data[1] < 192 else ((data[1] - 192) << 8) + data[2] + 192
    else:
        tag, width = data[0] >> 2 & 0x0F, 1 << (data[0] & 3)
        start, size = 1 + width, int.from_bytes(data[1 : 1 + width], "big")
    packet = data[start : start + size]
    return hashlib.sha1(b"\x99" + size.to_bytes(2, "big") + packet).hexdigest().upper() if tag == 6 else ""


def main() -> None:
    url, wanted, path = sys.argv[1:]
    if os.path.exists(path):
        with open(path) as handle:
            if fingerprint(handle.read()) == wanted:
                return
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read(LIMIT).decode("ascii", "replace").replace("\r\n", "\n")
    if (found := fingerprint(text)) != wanted:
        sys.exit(f"{url}: its key has the fingerprint {found or 'none'}, not {wanted}: it is not used")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w") as handle:
        handle.write(text)
    os.replace(f"{path}.new", path)
    print("fetched")


if __name__ == "__main__":
    main()
