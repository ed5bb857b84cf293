"""The lab tests: real labs, made by `aihub up`, looked at from outside. One has the whole hub, one has two guests."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("the lab tests make real guests: run `make test` as root, or `make check` without", pytrace=False)


@pytest.fixture(scope="session")
def lab_name() -> str:
    """Names of labs of this run begin so."""
    return os.environ.get("AIHUB_LAB") or f"test-{os.getpid()}"
