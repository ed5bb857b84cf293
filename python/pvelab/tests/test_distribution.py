"""pvelab by itself: installed where nothing else is, it serves clients that nobody here wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pve_server
import pytest
from proxmoxer import ProxmoxAPI
from proxmoxer.tools import Tasks
from pve_server import PASSWORD, TEMPLATE, Server
from test_clients import BUILD, build_go, check, pool, start, token  # noqa: F401  (`pool` is a fixture)

SOURCE = Path(__file__).parents[1]
PACKAGES = {"aiohttp", "cryptography", "pvelab"}  # and what these need themselves

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with pvelab and what that asks for; the installed copy is built elsewhere."""
    made = tmp_path_factory.mktemp("installed")
    source = made / "source"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__", "build"))
    subprocess.run([sys.executable, "-m", "venv", str(made / "venv")], check=True)
    pip = [str(made / "venv" / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return made / "venv"


@pytest.fixture(scope="module")
def pve(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """In place of the folder's server: the installed one."""
    server = pve_server.start(tmp_path_factory.mktemp("pve") / "state", program=[str(environment / "bin" / "pvelab")])
    yield server
    pve_server.stop(server)


def test_it_asks_for_nothing_of_aihub(environment: Path) -> None:
    listed = [str(environment / "bin" / "pip"), "list", "--format=json", "--disable-pip-version-check"]
    names = {one["name"].lower() for one in json.loads(subprocess.run(listed, capture_output=True, check=True).stdout)}
    assert names >= PACKAGES
    assert not names & {"aihub", "ansible-core", "pyinfra", "pydantic", "proxmoxer", "requests"}


def test_proxmoxer_goes_a_round(pve: Server) -> None:
    client = ProxmoxAPI(
        "127.0.0.1", port=pve.port, user="root@pam", password=PASSWORD, verify_ssl=str(pve.state / "pve-ssl.pem")
    )
    vmid = next(pve.vmids)
    task = client.nodes("pve").lxc.post(vmid=vmid, ostemplate=TEMPLATE, rootfs="local:1", hostname="web")
    assert Tasks.blocking_status(client, task, timeout=20)["exitstatus"] == "OK"
    assert client.nodes("pve").lxc(vmid).config.get()["hostname"] == "web"


def test_a_go_client_goes_a_round(pve: Server, pool: str, tmp_path: Path) -> None:  # noqa: F811
    out, vmid = BUILD / "go", next(pve.vmids)
    out.mkdir(parents=True, exist_ok=True)
    upload = tmp_path / "from-go.tar.zst"
    upload.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(60))
    secret = token(pve, "round-go")
    program = ("go", build_go(out), out)
    done = start(pve, program, VMID=str(vmid), FILE=str(upload), TOKEN="round-go", SECRET=secret)
    assert done.returncode == 0, done.stdout + done.stderr
    check(pve, vmid, json.loads(done.stdout))


def test_one_line_starts_it_and_says_how_to_log_in(environment: Path) -> None:
    argv = [str(environment / "bin" / "pvelab"), "serve", "--token", "root@pam!test", "--template", TEMPLATE]
    bare = {"PATH": os.environ["PATH"]}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=bare) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
        finally:
            process.terminate()
        assert process.wait(10) == 0
    assert set(told) == {"url", "ca", "node", "user", "password", "tokens"}
    assert set(told["tokens"]) == {"root@pam!test"}
