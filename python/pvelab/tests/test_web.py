"""The import of aiohttp changes the environment for its own time only: later downloads trust whom they trusted."""

from __future__ import annotations

import os

import pytest
from pvelab.api.web import _environment


@pytest.mark.parametrize("before", [{}, {"SSL_CERT_FILE": "/etc/mine.pem"}])
def test_the_environment_is_put_back(before: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    whole = dict(os.environ)
    with pytest.raises(ImportError), _environment(SSL_CERT_FILE=os.devnull):
        assert os.environ["SSL_CERT_FILE"] == os.devnull
        raise ImportError
    assert dict(os.environ) == whole
