"""The canary logs in again and again, and no login of its own was ever refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

SERVICES = ("canary", "valkey")
PATIENCE = 20.0  # seconds


@dataclass(frozen=True)
class Count:
    """What a container of the canary counted since it started."""

    works: int
    refused: int
    silent: int
    last_refusal: int
    last_try: int


@pytest.fixture
def count(execute: Callable[..., str]) -> Callable[[str], Count]:
    """`count(service)`: the line in its memory."""

    def read(service: str) -> Count:
        return Count(*map(int, execute(service, "cat", "/run/canary/count").split()))

    return read


def test_logins(count: Callable[[str], Count]) -> None:
    """its clients log in over TLS with what its files say, and do so again"""
    before, end = {service: count(service).works for service in SERVICES}, time.monotonic() + PATIENCE
    stuck = set(SERVICES)
    while stuck and time.monotonic() < end:
        time.sleep(0.1)
        stuck = {service for service in stuck if count(service).works <= before[service]}
    assert not stuck, f"no login within {PATIENCE:.0f} s: {', '.join(f'{s}: {count(s)}' for s in sorted(stuck))}"


@pytest.mark.parametrize("service", SERVICES)
def test_refusals(count: Callable[[str], Count], service: str) -> None:
    """no login was refused since it first got in"""
    found = count(service)
    assert found.works > 0, "it never got in, so nothing is counted"
    assert found.refused == 0, found


def test_files(container: Callable[..., Any]) -> None:
    """it reads the files of its instance, and its notes are in memory"""
    for service in SERVICES:
        found = container(service).attrs
        mounts = {mount["Destination"]: mount["Source"] for mount in found["Mounts"]}
        assert mounts["/run/secrets"] == "/run/hub/canary"
        assert "/run/canary" in found["HostConfig"]["Tmpfs"]
