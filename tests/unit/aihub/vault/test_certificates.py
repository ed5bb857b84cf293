"""The hub's root signs for its own domain, for a time, and openssl agrees."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aihub.errors import HubError
from aihub.vault import certificates

ROOT = certificates.new_root("small", "small.home.arpa")


def verify(folder: Path, chain: str, *options: str) -> str:
    (folder / "root.pem").write_text(ROOT.certificate)
    (folder / "chain.pem").write_text(chain)
    argv = [
        "openssl",
        "verify",
        "-x509_strict",
        "-CAfile",
        "root.pem",
        *options,
        "-untrusted",
        "chain.pem",
        "chain.pem",
    ]
    result = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    return "ok" if result.returncode == 0 else result.stdout + result.stderr


def test_a_listener_is_for_one_name_and_two_years(tmp_path: Path) -> None:
    issued = certificates.listener(ROOT, "security.small.home.arpa")
    facts = certificates.facts(issued.chain)
    assert facts.names == ("security.small.home.arpa",)
    assert 725 < (facts.not_after - datetime.now(UTC)).days < 731
    assert 0.99 < facts.left <= 1
    assert certificates.signed_by(issued.chain, ROOT.certificate)
    assert verify(tmp_path, issued.chain, "-purpose", "sslserver", "-verify_hostname", facts.names[0]) == "ok"
    assert "hostname mismatch" in verify(tmp_path, issued.chain, "-verify_hostname", "db.small.home.arpa")


@pytest.mark.parametrize("name", ["www.example.org", "small.home.arpa.example.org", "xsmall.home.arpa"])
def test_nobody_believes_the_root_about_another_domain(tmp_path: Path, name: str) -> None:
    assert "permitted subtree violation" in verify(tmp_path, certificates.listener(ROOT, name).chain)


def test_keys_are_not_shown() -> None:
    issued = certificates.listener(ROOT, "security.small.home.arpa")
    assert "PRIVATE" not in repr(issued) + repr(ROOT)
    assert "BEGIN PRIVATE KEY" in issued.key


def test_a_root_and_its_key_belong_together() -> None:
    other = certificates.new_root("small", "small.home.arpa")
    assert certificates.belongs(ROOT)
    assert not certificates.belongs(certificates.Authority(ROOT.certificate, other.key))
    assert not certificates.signed_by(certificates.listener(other, "a.small.home.arpa").chain, ROOT.certificate)


def test_a_life_that_is_over_has_nothing_left() -> None:
    start = datetime.now(UTC) - timedelta(days=30)
    issued = certificates.listener(ROOT, "a.small.home.arpa", days=10, start=start)
    assert certificates.facts(issued.chain).left < 0
    with pytest.raises(HubError, match="not a certificate"):
        certificates.facts("nothing")
