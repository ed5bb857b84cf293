"""Clients that nobody here wrote, one from each registry: create, configure, snapshot, delete, as on a real node.

clients/NAME is a program of ours around such a client; what it builds and fetches goes to build/clients/NAME. Each is
told by environment variables where the server is and who it may be, and prints what it saw as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException
from pve_server import PASSWORD, TEMPLATE, Server

CLIENTS = Path(__file__).parent / "clients"
BUILD = Path(__file__).parents[1] / "build" / "clients"
MISSING = "{0} is not installed, and this test needs it: `make test` installs it, or apt-get install {1}"
POOL = "snapshots"
STEPS = {
    "lxc": ["vzcreate", "vzsnapshot", "vzdelsnapshot", "vzdestroy"],
    "qemu": ["qmcreate", "qmconfig", "qmsnapshot", "qmdelsnapshot", "qmdestroy"],
}


@pytest.fixture(scope="module")
def pool(pve: Server) -> Iterator[str]:
    """A storage that can take snapshots, as a directory of raw disks can't; what clients uploaded goes again."""
    made = pve.call("POST", "/storage", {"storage": POOL, "type": "zfspool", "pool": "rpool/data"})
    assert made.status == 200, made.text
    before = templates(pve)
    yield POOL
    for volume in templates(pve) - before:
        assert pve.done(pve.call("DELETE", f"/nodes/pve/storage/local/content/{volume}")) == "OK"
    assert pve.call("DELETE", f"/storage/{POOL}").status == 200


def templates(pve: Server) -> set[str]:
    return {volume["volid"] for volume in pve.get("/nodes/pve/storage/local/content", content="vztmpl")}


def token(pve: Server, name: str) -> str:
    """The secret of a fresh token of root@pam that may do what root@pam may."""
    return str(pve.call("POST", f"/access/users/root@pam/token/{name}", {"privsep": 0}).data["value"])


def check(pve: Server, vmid: int, seen: dict[str, Any], kind: str = "lxc") -> None:
    """What the client saw is what there was, and the server did all of it."""
    assert seen["version"] == pve.get("/version")["version"]
    assert seen["memory"] == 1024
    assert seen["snapshots"] == ["before", "current"]
    assert seen["left"] == ["current"]
    folder = {"lxc": "lxc", "qemu": "qemu-server"}[kind]
    assert f"Configuration file 'nodes/pve/{folder}/{vmid}.conf' does not exist" in seen["gone"]
    tasks = pve.get("/nodes/pve/tasks", vmid=vmid, limit=50)
    assert sorted(task["type"] for task in tasks) == sorted(STEPS[kind])
    assert {task["status"] for task in tasks} == {"OK"}
    assert vmid not in [guest.get("vmid") for guest in pve.get("/cluster/resources")]


# -- programs around a client ------------------------------------------------------------------------------------------


def tool(name: str, package: str) -> str:
    """The path of a tool that the Makefile's test target installs; without it the test fails."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(MISSING.format(name, package))
    return found


def run(argv: list[str], where: Path, **environment: str) -> str:
    """What a command prints; when it fails, the test says what it said."""
    told = {**os.environ, **environment}
    done = subprocess.run(argv, cwd=where, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"[-6000:]
    return done.stdout


def build_npm(out: Path) -> list[str]:
    npm, node = tool("npm", "npm"), tool("node", "nodejs")
    for name in ("package.json", "package-lock.json", "round.js"):
        shutil.copyfile(CLIENTS / "npm" / name, out / name)
    quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    run([npm, "ci", *quiet, "--prefer-offline", f"--cache={out / 'cache'}"], out)
    return [node, "round.js"]


def build_go(out: Path) -> list[str]:
    caches = {"GOCACHE": str(out / "cache"), "GOMODCACHE": str(out / "modules"), "CGO_ENABLED": "0"}
    flags = ["-mod=readonly", "-modcacherw", "-buildvcs=false"]
    run([tool("go", "golang-go"), "build", *flags, "-o", str(out / "round"), "."], CLIENTS / "go", **caches)
    return [str(out / "round")]


def build_crates(out: Path) -> list[str]:
    # Where cargo keeps what it fetched is cargo's own business: a mirror may be set there.
    run([tool("cargo", "cargo"), "build", "--quiet", "--locked", f"--target-dir={out}"], CLIENTS / "crates")
    return [str(out / "debug" / "round")]


BUILDERS: dict[str, Callable[[Path], list[str]]] = {"npm": build_npm, "go": build_go, "crates": build_crates}
KINDS = {"npm": "lxc", "go": "lxc", "crates": "qemu"}


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> tuple[str, list[str], Path]:
    """A client's program, built from its lock file."""
    name = str(request.param)
    out = BUILD / name
    out.mkdir(parents=True, exist_ok=True)
    return name, BUILDERS[name](out), out


def start(pve: Server, built: tuple[str, list[str], Path], **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a client's program against the server."""
    trust = str(pve.state / "pve-ssl.pem")
    told = {"PORT": str(pve.port), "TEMPLATE": TEMPLATE, "STORAGE": POOL, "CA": trust, **more}
    environment = {f"ROUND_{key}": value for key, value in told.items()}
    environment["NODE_EXTRA_CA_CERTS"] = told["CA"]
    bare = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    _, argv, where = built
    return subprocess.run(
        argv, cwd=where, env={**bare, **environment}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.slow
@pytest.mark.parametrize("way", ["token", "password"])
@pytest.mark.parametrize("program", BUILDERS, indirect=True, scope="module")
def test_a_registrys_client_goes_a_whole_round(
    pve: Server, pool: str, program: tuple[str, list[str], Path], way: str, tmp_path: Path
) -> None:
    name, vmid = program[0], next(pve.vmids)
    upload = tmp_path / f"from-{name}.tar.zst"
    upload.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(60))
    proof = {"PASSWORD": PASSWORD}
    if way == "token":
        proof = {"TOKEN": f"round-{name}", "SECRET": token(pve, f"round-{name}")}
    done = start(pve, program, VMID=str(vmid), FILE=str(upload), **proof)
    assert done.returncode == 0, done.stdout + done.stderr
    check(pve, vmid, json.loads(done.stdout), KINDS[name])
    assert (f"local:vztmpl/{upload.name}" in templates(pve)) == (name == "go")  # only this one has an upload of its own


@pytest.mark.slow
@pytest.mark.parametrize("program", BUILDERS, indirect=True, scope="module")
def test_a_registrys_client_refuses_another_servers_certificate(
    pve: Server, pool: str, program: tuple[str, list[str], Path], tmp_path: Path
) -> None:
    other, key = tmp_path / "other.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subject = ["-subj", "/CN=pve", "-addext", "subjectAltName=IP:127.0.0.1"]
    run([*argv, *subject, "-keyout", str(key), "-out", str(other)], tmp_path)
    before = pve.get("/pvelab/requests")["total"]
    done = start(pve, program, VMID=str(next(pve.vmids)), CA=str(other), PASSWORD=PASSWORD, FILE=str(other))
    assert done.returncode != 0
    assert "cert" in f"{done.stdout}{done.stderr}".lower()
    assert pve.get("/pvelab/requests")["total"] == before


# -- proxmoxer and curl ------------------------------------------------------------------------------------------------


def wait(px: Any, upid: str) -> str:
    for _ in range(400):
        status = px.nodes("pve").tasks(upid).status.get()
        if status["status"] == "stopped":
            return str(status["exitstatus"])
        time.sleep(0.01)
    raise AssertionError(upid)


@pytest.mark.parametrize("way", ["password", "token"])
def test_proxmoxer_goes_a_whole_round(pve: Server, pool: str, way: str, tmp_path: Path) -> None:
    proof: dict[str, str] = {"password": PASSWORD}
    if way == "token":
        proof = {"token_name": "proxmoxer", "token_value": token(pve, "proxmoxer")}
    trust = str(pve.state / "pve-ssl.pem")
    px = ProxmoxAPI("127.0.0.1", port=pve.port, user="root@pam", verify_ssl=trust, **proof)
    vmid = next(pve.vmids)
    node = px.nodes("pve")
    archive = tmp_path / f"proxmoxer-{way}.tar.zst"
    archive.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(60))
    with archive.open("rb") as file:
        assert wait(px, node.storage("local").upload.post(content="vztmpl", filename=file)) == "OK"
    template = f"local:vztmpl/{archive.name}"
    more = {"features": "nesting=1", "unprivileged": 1}
    assert wait(px, node.lxc.post(vmid=vmid, ostemplate=template, rootfs=f"{pool}:1", **more)) == "OK"
    guest = node.lxc(vmid)
    guest.config.put(memory=1024)
    with pytest.raises(ResourceException) as refused:
        guest.config.put(onboot=True)
    assert refused.value.errors == {"onboot": "type check ('boolean') failed - got 'True'"}
    seen = {"version": px.version.get()["version"], "memory": guest.config.get()["memory"]}
    assert wait(px, guest.snapshot.post(snapname="before")) == "OK"
    seen["snapshots"] = [item["name"] for item in guest.snapshot.get()]
    assert wait(px, guest.snapshot("before").delete()) == "OK"
    seen["left"] = [item["name"] for item in guest.snapshot.get()]
    assert wait(px, guest.delete(purge=1)) == "OK"
    with pytest.raises(ResourceException) as gone:
        guest.config.get()
    check(pve, vmid, {**seen, "gone": str(gone.value)})


class Curl:
    """curl, as a person calls it."""

    def __init__(self, pve: Server, *headers: str) -> None:
        self.pve, self.headers = pve, headers

    def __call__(self, method: str, path: str, *fields: str, form: str = "--data-urlencode") -> Any:
        url = f"https://127.0.0.1:{self.pve.port}/api2/json{path}"
        argv = ["curl", "-sS", "--noproxy", "*", "--cacert", str(self.pve.state / "pve-ssl.pem"), "-X", method, url]
        for header in self.headers:
            argv += ["-H", header]
        for item in fields:
            argv += [form, item]
        return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)

    def done(self, method: str, path: str, *fields: str, form: str = "--data-urlencode") -> None:
        upid = self(method, path, *fields, form=form)["data"]
        for _ in range(400):
            task = self("GET", f"/nodes/pve/tasks/{upid}/status")["data"]
            if task["status"] == "stopped":
                assert task["exitstatus"] == "OK", task
                return
        raise AssertionError(upid)


def logged_in(pve: Server, way: str) -> Curl:
    """curl with a token, or with the cookie and the CSRF token of a login."""
    if way == "token":
        return Curl(pve, f"Authorization: PVEAPIToken=root@pam!curl={token(pve, 'curl')}")
    login = Curl(pve)("POST", "/access/ticket", "username=root@pam", f"password={PASSWORD}")["data"]
    cookie = f"Cookie: PVEAuthCookie={login['ticket']}"
    return Curl(pve, cookie, f"CSRFPreventionToken: {login['CSRFPreventionToken']}")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["password", "token"])
def test_curl_goes_a_whole_round(pve: Server, pool: str, way: str, tmp_path: Path) -> None:
    tool("curl", "curl")
    curl, vmid = logged_in(pve, way), next(pve.vmids)
    archive = tmp_path / f"curl-{way}.tar.zst"
    archive.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(60))
    curl.done("POST", "/nodes/pve/storage/local/upload", "content=vztmpl", f"filename=@{archive}", form="-F")
    guest = f"/nodes/pve/lxc/{vmid}"
    create = (f"vmid={vmid}", f"ostemplate=local:vztmpl/{archive.name}", f"rootfs={pool}:1", "unprivileged=1")
    curl.done("POST", "/nodes/pve/lxc", *create)
    assert curl("PUT", f"{guest}/config", "memory=1024") == {"data": None}
    seen = {"version": curl("GET", "/version")["data"]["version"]}
    seen["memory"] = curl("GET", f"{guest}/config")["data"]["memory"]
    curl.done("POST", f"{guest}/snapshot", "snapname=before")
    seen["snapshots"] = [item["name"] for item in curl("GET", f"{guest}/snapshot")["data"]]
    curl.done("DELETE", f"{guest}/snapshot/before")
    seen["left"] = [item["name"] for item in curl("GET", f"{guest}/snapshot")["data"]]
    curl.done("DELETE", guest)
    check(pve, vmid, {**seen, "gone": curl("GET", f"{guest}/config")["message"]})
