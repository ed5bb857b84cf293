"""Ten questions to each guest, asked through `host` (aihub's, or testinfra's own) or fetched at once."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

if os.environ["BENCH_WAY"] == "aihub":
    pytest_plugins = ["aihub.checks.plugin"]

QUESTIONS = {
    "name": "hostname",
    "passwd": "stat --format='%a %U' /etc/passwd",
    "root": "id -u root",
    "package": "dpkg-query --show --showformat='${db:Status-Status}' openssh-server",
    "service": "systemctl is-active ssh",
    "port": "ss -Hltn 'sport = :22' | head -n1",
    "kernel": "sysctl -n kernel.ostype",
    "root_fs": "findmnt --noheadings --output TARGET /",
    "disk": "df -P / | tail -n1",
    "manifest": "head -c1 /etc/hub/manifest.json",
}


def guests() -> list[str]:
    """The guests that are asked."""
    return os.environ["BENCH_GUESTS"].split(",")


@pytest.fixture(scope="session")
def fetched() -> dict[str, dict[str, str]]:
    """Every answer of every guest: one ssh per guest, all at the same time."""
    parts = [f"printf '%s\\n' {key}; ( {command} ) 2>&1; printf '\\0'" for key, command in QUESTIONS.items()]
    command = ["ssh", "-F", os.environ["BENCH_SSH_CONFIG"], "-T"]

    def ask(guest: str) -> dict[str, str]:
        done = subprocess.run([*command, guest, "--", "; ".join(parts)], capture_output=True, text=True, check=True)
        return dict(answer.split("\n", 1) for answer in done.stdout.split("\0") if answer)

    with ThreadPoolExecutor(len(guests())) as pool:
        return dict(zip(guests(), pool.map(ask, guests()), strict=True))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The fetched answers are looked at guest by guest."""
    if "fetched_guest" in metafunc.fixturenames:
        metafunc.parametrize("fetched_guest", guests())
