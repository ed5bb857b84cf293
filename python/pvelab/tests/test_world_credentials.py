"""A build finds its registries and gets nothing that the operator logs in with, unless it is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pvelab.world import builder, credentials, process
from pvelab.world.root import Root

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "s3cret",
    "GITHUB_TOKEN": "s3cret",
    "SSH_AUTH_SOCK": "/run/s3cret",
    "VAULT_TOKEN": "s3cret",
    "UV_PUBLISH_TOKEN": "s3cret",
    "UV_INDEX_MIRROR_PASSWORD": "s3cret",
    "NPM_CONFIG__AUTH": "s3cret",
    "PIP_INDEX_URL": "https://me:s3cret@mirror.example/simple",
    "GOPROXY": "https://me:s3cret@go.example,direct",
    "https_proxy": "http://me:s3cret@proxy.example:3128",
}
FILES = {
    ".npmrc": "registry=https://npm.example/\n//npm.example/:_authToken=s3cret\n_auth = s3cret\n",
    ".config/pip/pip.conf": "[global]\nindex-url = https://me:s3cret@mirror.example/simple\ntimeout = 60\n",
    ".config/go/env": "GOPROXY=https://me:s3cret@go.example\n",
    ".m2/settings.xml": "<settings>\n<servers><server><id>x</id><password>s3cret</password></server></servers>\n"
    "<proxy>\n<host>proxy.example</host>\n<password>s3cret</password>\n</proxy>\n</settings>\n",
}


@pytest.fixture(autouse=True)
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody whose package clients log in."""
    monkeypatch.delenv(credentials.ASKED, raising=False)
    for key, value in SECRETS.items():
        monkeypatch.setenv(key, value)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    for name, text in FILES.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    return home


def test_the_builder_inherits_how_package_clients_find_their_registries(tmp_path: Path) -> None:
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    environment = {
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "PIP_FIND_LINKS": "/not/in/the/builder",
        "SSL_CERT_DIR": "/etc/ssl/certs",
        "https_proxy": "http://proxy.example:3128",
        "HOME": "/home/x",
        "SOME_TOKEN": "value",
    }
    assert builder.client_environment(environment, tmp_path) == {
        "PIP_INDEX_URL": "https://mirror.example/simple",
        "SSL_CERT_DIR": "/etc/ssl/certs",
        "https_proxy": "http://proxy.example:3128",
    }


def test_addresses_pass_and_what_logs_in_there_does_not(tmp_path: Path) -> None:
    found = builder.client_environment(os.environ, tmp_path)
    assert "s3cret" not in str(found)
    assert found["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert found["GOPROXY"] == "https://go.example,direct"
    assert found["https_proxy"] == "http://proxy.example:3128"


@pytest.mark.skipif(os.geteuid() != 0, reason="writes files as the builder's root")
def test_settings_files_lose_their_credentials_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Root(tmp_path / "root")
    root.path.mkdir()
    builder._clients(root)
    written = {str(path.relative_to(root.path)): path.read_text() for path in root.path.rglob("*") if path.is_file()}
    assert "s3cret" not in str(written)
    assert written["root/.npmrc"] == "registry=https://npm.example/\n"
    assert written["root/.config/pip/pip.conf"] == "[global]\nindex-url = https://mirror.example/simple\ntimeout = 60\n"
    assert written["root/.m2/settings.xml"].split() == (
        ["<settings>", "<proxy>", "<host>proxy.example</host>", "</proxy>", "</settings>"]
    )
    monkeypatch.setenv(credentials.ASKED, "1")
    builder._clients(root)
    assert root.read("root/.npmrc") == FILES[".npmrc"]
    assert "s3cret" in root.read("etc/lab/environment")


def test_no_program_that_the_lab_starts_sees_the_operator_s_environment() -> None:
    seen = process.run(["env"], env={"MINE": "1"}).stdout.decode()
    assert {"MINE=1", f"PATH={os.environ['PATH']}", "HOME=/root"} <= set(seen.splitlines())
    assert "GITHUB_TOKEN" not in seen
    assert "SSH_AUTH_SOCK" not in seen
    assert "AWS_" not in seen
