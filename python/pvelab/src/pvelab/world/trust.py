"""The certificate authorities that this host trusts beyond a stock Debian."""

from __future__ import annotations

import re
from pathlib import Path

from .process import run

BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def certificates(bundle: str) -> dict[str, str]:
    """Every certificate of a bundle, by its content without white space."""
    return {re.sub(r"\s", "", pem): pem for pem in _PEM.findall(bundle)}


def local() -> list[str]:
    """The host's certificates that no Debian package brought: those of a company or of a proxy that inspects TLS."""
    if not BUNDLE.is_file():
        return []
    stock: dict[str, str] = {}
    for file in Path("/usr/share/ca-certificates").rglob("*.crt"):
        stock |= certificates(file.read_text(errors="replace"))
    mine = certificates(BUNDLE.read_text(errors="replace"))
    return [pem for key, pem in mine.items() if key not in stock]


def install(root: Path, pems: list[str], prefix: str) -> None:
    """Adds certificates to the trust store of a root file system."""
    folder = root / "usr/local/share/ca-certificates"
    folder.mkdir(parents=True, exist_ok=True)
    for number, pem in enumerate(pems):
        (folder / f"{prefix}-{number}.crt").write_text(pem + "\n")
    run(["chroot", str(root), "update-ca-certificates"])
