"""The key of a package source is kept when it is the one that was declared, and no other."""

from __future__ import annotations

import io
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from aihub import paths

# Made for this test; its private half is nowhere.
KEY = """-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEaw0+1xYJKwYBBAHaRw8BAQdAIiiNjZohHIRLXCGaxxnN8m7XctQlrLNFA02B
i33Twye0F3Rlc3QgPHRlc3RAZXhhbXBsZS5vcmc+iJAEExYIADgWIQR0AHXEETot
ZkKf9d9+RXFaJkI2hQUCaw0+1wIbAwULCQgHAgYVCgkICwIEFgIDAQIeAQIXgAAK
CRB+RXFaJkI2hZ/FAQCkV8LtNv6jdDVl1gb2C7bhx1BtnB6/lQDu/eaAN7y8ZAEA
oXoffaB+Z6OZEjcfQ49epIFd/tQnL3/SpcZxgMQ1Ogk=
=wFqc
-----END PGP PUBLIC KEY BLOCK-----
"""
FINGERPRINT = "740075C4113A2D66429FF5DF7E45715A26423685"
URL = "https://packages.example.org/key.asc"


@pytest.fixture
def program() -> ModuleType:
    spec = spec_from_file_location("fetch_key", paths.ROOT / "roles" / "nvidia" / "files" / "fetch_key.py")
    assert spec and spec.loader
    found = module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def fetch(program: ModuleType, monkeypatch: pytest.MonkeyPatch, target: Path, answer: str, wanted: str) -> None:
    monkeypatch.setattr(program.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(answer.encode()))
    monkeypatch.setattr(program.sys, "argv", ["fetch_key", URL, wanted, str(target)])
    program.main()


def test_the_declared_key_is_kept(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "keyrings" / "key.asc"
    fetch(program, monkeypatch, target, KEY, FINGERPRINT)
    assert target.read_text() == KEY
    fetch(program, monkeypatch, target, "nothing is asked for what is there", FINGERPRINT)
    assert target.read_text() == KEY


@pytest.mark.parametrize("answer", [KEY, "<html>no key</html>", "", KEY.replace("mDME", "AAAA")])
def test_another_one_is_not(program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str) -> None:
    with pytest.raises(SystemExit, match="it is not used"):
        fetch(program, monkeypatch, tmp_path / "key.asc", answer, "0" * 40)
    assert not (tmp_path / "key.asc").exists()
