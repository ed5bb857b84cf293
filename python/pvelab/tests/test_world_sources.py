"""The roots that the lab bakes get their packages from where this machine does."""

import socket
from pathlib import Path
from typing import Any

import pytest
from pvelab.world import sources

DEB822 = """Types: deb
# a comment
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb deb-src
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
"""


def test_deb822_sources_lead_to_lines_of_the_wanted_suite(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    assert sources.lines(sources.host_sources(tmp_path), "trixie") == [
        "deb http://mirror.example/debian trixie main",
        "deb http://mirror.example/debian trixie-updates main",
        "deb http://mirror.example/debian-security trixie-security main",
    ]


def test_one_line_sources_with_options_are_understood(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://no.example/debian x main\n"
        "deb-src http://src.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] https://one.example/path/debian bookworm main contrib\n"
    )
    assert (
        sources.lines(sources.host_sources(tmp_path), "trixie")[0] == "deb https://one.example/path/debian trixie main"
    )


def test_a_host_without_a_debian_mirror_leaves_the_choice_to_the_bootstrap_tool() -> None:
    ubuntu = [sources.Source("http://archive.example/ubuntu", ("noble",))]
    assert sources.lines(ubuntu, "trixie") == []


def test_a_third_party_source_is_no_debian_mirror() -> None:
    others = [sources.Source("https://vendor.example/apt/docker-debian", ("x",))]
    assert sources.lines(others, "trixie") == []


def test_a_program_for_wide_registers_is_not_taken_by_a_machine_without_them() -> None:
    flags = "flags : fpu avx avx2 bmi1 bmi2 f16c fma abm movbe sse2"
    assert sources.processor("x86_64", flags) == "x86_64-v3"
    assert sources.processor("x86_64", flags.replace("avx2 ", "")) == "x86_64"
    assert sources.processor("aarch64", "Features : fp asimd") == "aarch64"


def test_where_packages_come_from_is_told_with_the_proxy_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"deb.example.org": "203.0.113.80", "proxy.example.org": "10.0.0.3"}

    def resolve(host: str, *_: object) -> list[Any]:
        if host not in known:
            raise OSError
        return [(2, 1, 6, "", (known[host], 0))]

    monkeypatch.setattr(sources, "hosts", lambda: ["deb.example.org", "gone.example.org"])
    monkeypatch.setattr(sources, "carried_options", lambda: ['Acquire::http::Proxy "http://proxy.example.org:3142/";'])
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert sources.addresses() == ["10.0.0.3", "203.0.113.80"]
