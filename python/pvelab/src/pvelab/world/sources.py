"""Where Debian packages come from: the host's own apt settings, carried over to the roots that the lab bakes."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .process import run

APT = Path("/etc/apt")
_ONE_LINE = re.compile(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s*(.*)")
# Settings of the way to the mirror. What is not about that (caches, hooks, languages) stays the root's own.
_CARRIED = ("Acquire::http::Proxy", "Acquire::https::Proxy", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
# What x86-64-v3 asks for, in the kernel's words.
_V3 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_BASE = re.compile(r"^(https?://\S*?/debian)/?$")
_SECURITY = re.compile(r"^(https?://\S*?/debian-security)/?$")


@dataclass(frozen=True)
class Source:
    """One apt source of the host."""

    uri: str
    suites: tuple[str, ...]


def parse(text: str, deb822: bool) -> Iterator[Source]:
    """The sources in one file, in either of apt's two formats; disabled and source-only ones are left out."""
    if not deb822:
        for line in text.splitlines():
            if found := _ONE_LINE.match(line.split("#", 1)[0].strip()):
                yield Source(found[1], (found[2],))
        return
    for paragraph in re.split(r"\n\s*\n", text):
        fields = _fields(paragraph)
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in ("no", "false"):
            for uri in fields.get("uris", "").split():
                yield Source(uri, tuple(fields.get("suites", "").split()))


def _fields(paragraph: str) -> dict[str, str]:
    found: dict[str, str] = {}
    key = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and key:
            found[key] += " " + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            key = name.strip().lower()
            found[key] = value.strip()
    return found


def host_sources(base: Path = APT) -> list[Source]:
    """All enabled binary sources of this host."""
    files = [base / "sources.list", *sorted((base / "sources.list.d").glob("*"))]
    found: list[Source] = []
    for file in files:
        if file.suffix in (".list", ".sources") and file.is_file():
            found += parse(file.read_text(), file.suffix == ".sources")
    return found


def lines(sources: Iterable[Source], suite: str) -> list[str]:
    """The sources.list lines of a Debian root of `suite`; empty when the host names no Debian mirror."""
    known = list(sources)
    mirror = next((found[1] for source in known if (found := _BASE.match(source.uri))), None)
    security = next((found[1] for source in known if (found := _SECURITY.match(source.uri))), None)
    written = [f"deb {mirror} {suite} main", f"deb {mirror} {suite}-updates main"] if mirror else []
    return written + ([f"deb {security} {suite}-security main"] if mirror and security else [])


def hosts() -> list[str]:
    """The hosts that roots made from this machine's sources take packages from; empty without a Debian mirror."""
    found = (urlsplit(line.split()[1]).hostname for line in lines(host_sources(), "stable"))
    return sorted({host for host in found if host})


def addresses() -> list[str]:
    """Where those hosts are, and the proxies on the way to them, as this machine sees them."""
    proxies = (urlsplit(url).hostname for line in carried_options() for url in re.findall(r'"(https?://[^"]+)"', line))
    found: set[str] = set()
    for host in {*hosts(), *(host for host in proxies if host)}:
        try:
            found |= {str(info[4][0]) for info in socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)}
        except OSError:
            continue  # a name that does not resolve here leads guests nowhere either
    return sorted(found)


def index(suite: str, week: str) -> list[str]:
    """What decides which packages this machine gets now: part of the name of whatever is made from them."""
    return [week, processor(os.uname().machine, Path("/proc/cpuinfo").read_text()), *lines(host_sources(), suite)]


def processor(kind: str, described: str) -> str:
    """What a program that is compiled here may need of a processor: its wide registers, where it has them."""
    return f"{kind}-v3" if set(described.split()) >= _V3 else kind


def carried_options() -> list[str]:
    """The host's apt.conf lines about the way to the mirror, e.g. its proxy."""
    dump = run(["apt-config", "dump", "--no-empty"], check=False).stdout.decode(errors="replace")
    return [line for line in dump.splitlines() if line.split(" ", 1)[0] in _CARRIED]
