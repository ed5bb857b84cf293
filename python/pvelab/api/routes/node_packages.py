"""Packages and templates: what is installed, where it comes from, and what could be fetched."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import fetch, volumes
from ..errors import TaskError, bad, failure
from ..registry import Call, index, route
from ..tasks import Log
from .storage_content import folder_path
from .version import VERSION

ONE = "/nodes/{node}"
KERNEL = "6.17.13-1-pve"
PACKAGES = {
    "proxmox-ve": "9.2.0", "pve-manager": "9.2.11", f"proxmox-kernel-{KERNEL}-signed": "6.17.13-1",
    "corosync": "3.1.9-pve2", "criu": "4.1.1-1", "ifupdown2": "3.3.0-1+pmx11", "libpve-access-control": "9.1.1",
    "libpve-cluster-api-perl": "9.1.6", "libpve-cluster-perl": "9.1.6", "libpve-common-perl": "9.2.1",
    "libpve-guest-common-perl": "6.0.2", "libpve-http-server-perl": "6.0.5", "libpve-network-perl": "1.3.0",
    "libpve-notify-perl": "9.1.6", "libpve-storage-perl": "9.1.7", "lvm2": "2.03.31-2+pmx1", "lxc-pve": "6.0.5-4",
    "lxcfs": "6.0.4-pve1", "proxmox-backup-client": "4.1.2-1", "proxmox-firewall": "1.2.1",
    "proxmox-widget-toolkit": "5.1.5", "pve-cluster": "9.1.6", "pve-container": "6.1.10", "pve-docs": "9.1.2",
    "pve-edk2-firmware": "4.2025.05-2", "pve-firewall": "6.0.4", "pve-firmware": "3.17-2",
    "pve-ha-manager": "5.2.0", "pve-i18n": "3.6.6", "pve-qemu-kvm": "10.1.2-5", "qemu-server": "9.2.6",
    "smartmontools": "7.4-pve1", "spiceterm": "3.4.1", "swtpm": "0.8.0+pve3", "vncterm": "1.9.1",
}  # fmt: skip
SOURCES = "/etc/apt/sources.list.d"
MIRROR = "http://packages.example.org"  # stands for the distribution's own: nobody is asked
STANDARD = {
    "enterprise": "Enterprise",
    "no-subscription": "No-Subscription",
    "test": "Test",
    "ceph-squid-enterprise": "Ceph Squid Enterprise",
    "ceph-squid-no-subscription": "Ceph Squid No-Subscription",
    "ceph-squid-test": "Ceph Squid Test",
}
index(ONE + "/apt", "id", "changelog", "repositories", "update", "versions")


@route("GET", ONE + "/apt/versions")
def packages(call: Call) -> list[dict[str, Any]]:
    """The packages that make a Proxmox VE."""
    found = []
    for name, release in PACKAGES.items():
        item: dict[str, Any] = {"Package": name, "Title": name, "Description": name, "Version": release}
        item |= {"OldVersion": release, "CurrentState": "Installed", "Arch": "all", "Origin": "Proxmox"}
        item |= {"Section": "admin", "Priority": "optional"}
        if name == "proxmox-ve":
            item["RunningKernel"] = KERNEL
        if name == "pve-manager":
            item["ManagerVersion"] = f"{VERSION['version']}/{VERSION['repoid']}"
        found.append(item)
    return found


@route("GET", ONE + "/apt/update")
def updates(call: Call) -> list[Any]:
    """What could be updated: nothing."""
    return []


@route("POST", ONE + "/apt/update")
def refresh(call: Call) -> str:
    """Ends well without asking anyone: the lab has no package lists."""

    def work(log: Log) -> None:
        if not call.flag("quiet"):
            log("starting apt-get update")
            log("Reading package lists...")

    return call.start("aptupdate", "", work)


@route("GET", ONE + "/apt/changelog")
def changelog(call: Call) -> str:
    """What apt-get says when it finds no changelog."""
    name = str(call["name"])
    if name not in PACKAGES:
        return f"E: Unable to locate package {name}\nRC: 100"
    shown = f"{name} {call.get('version', PACKAGES[name])}"
    return f"E: Failed to fetch the changelog of {shown}: the lab asks no package server\nRC: 100"


def _repositories(call: Call) -> dict[str, dict[str, Any]]:
    """The repository files of a fresh node, with the changes that were made through the API."""
    debian = {"URIs": [f"{MIRROR}/debian/"], "Suites": ["trixie", "trixie-updates"]}
    security = {"URIs": [f"{MIRROR}/debian-security/"], "Suites": ["trixie-security"]}
    parts = ["main", "contrib", "non-free-firmware"]
    key = [{"Key": "Signed-By", "Values": ["/usr/share/keyrings/debian-archive-keyring.gpg"]}]
    common = {"Types": ["deb"], "FileType": "sources", "Enabled": 1, "Options": key}
    found: dict[str, dict[str, Any]] = {
        f"{SOURCES}/debian.sources": {
            "repositories": [{**common, **debian, "Components": parts}, {**common, **security, "Components": parts}]
        },
        f"{SOURCES}/pve-enterprise.sources": {"repositories": [_standard("enterprise")]},
    }
    for handle in call.pve.table("node").get("repositories", []):
        found[_file_of(handle)] = {"repositories": [_standard(handle)]}
    for place, enabled in call.pve.table("node").get("repository_states", {}).items():
        path, _, number = place.rpartition(":")
        if path in found and int(number) < len(found[path]["repositories"]):
            found[path]["repositories"][int(number)]["Enabled"] = int(enabled)
    return found


def _file_of(handle: str) -> str:
    if handle.startswith("ceph"):
        return f"{SOURCES}/ceph.sources"
    return f"{SOURCES}/{'pve-enterprise' if handle == 'enterprise' else 'proxmox'}.sources"


def _standard(handle: str) -> dict[str, Any]:
    ceph = handle.startswith("ceph-squid-")
    level = handle.removeprefix("ceph-squid-")
    host = "https://enterprise.proxmox.com" if level == "enterprise" else "http://download.proxmox.com"
    component = level if ceph else f"pve-{level}"
    key = [{"Key": "Signed-By", "Values": ["/usr/share/keyrings/proxmox-archive-keyring.gpg"]}]
    found = {"URIs": [f"{host}/debian/{'ceph-squid' if ceph else 'pve'}"], "Suites": ["trixie"]}
    return {"Types": ["deb"], **found, "Components": [component], "FileType": "sources", "Enabled": 1, "Options": key}


def _digest(repositories: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(repositories, sort_keys=True).encode()).hexdigest()


@route("GET", ONE + "/apt/repositories")
def repositories(call: Call) -> dict[str, Any]:
    """Where packages would come from."""
    found = _repositories(call)
    files = []
    for path, values in found.items():
        digest = list(hashlib.sha256(json.dumps(values, sort_keys=True).encode()).digest())
        files.append({"path": path, "file-type": "sources", **values, "digest": digest})
    infos = [
        {"path": path, "index": str(number), "kind": "origin", "message": "Proxmox" if "proxmox" in uri else "Debian"}
        for path, values in found.items()
        for number, item in enumerate(values["repositories"])
        for uri in item["URIs"][:1]
    ]
    standard = [{"handle": handle, "name": name, **_state(found, handle)} for handle, name in STANDARD.items()]
    answer = {"files": files, "errors": [], "digest": _digest(found), "infos": infos}
    return {**answer, "standard-repos": standard}


def _state(found: dict[str, dict[str, Any]], handle: str) -> dict[str, int]:
    wanted = _standard(handle)
    for values in found.values():
        for item in values["repositories"]:
            if (item["URIs"], item["Components"]) == (wanted["URIs"], wanted["Components"]):
                return {"status": int(item["Enabled"])}
    return {}


def _check_digest(call: Call) -> None:
    if call.has("digest") and call["digest"] != _digest(_repositories(call)):
        raise failure("detected modified configuration - file changed by other user? Try again.")


@route("PUT", ONE + "/apt/repositories")
def add_repository(call: Call) -> None:
    """Adds one of Proxmox's own repositories, or switches it on."""
    handle = str(call["handle"])
    if handle not in STANDARD:
        raise failure(f"unknown repository handle '{handle}'")
    _check_digest(call)
    if _state(_repositories(call), handle).get("status"):
        raise failure("standard repository is already configured")
    with call.pve.cluster.lock:
        table = call.pve.table("node")
        if _state(_repositories(call), handle):
            table.setdefault("repository_states", {})[f"{_file_of(handle)}:0"] = 1
        else:
            kept = [other for other in table.get("repositories", []) if _file_of(other) != _file_of(handle)]
            table["repositories"] = [*kept, handle]
        call.pve.cluster.save()


@route("POST", ONE + "/apt/repositories")
def change_repository(call: Call) -> None:
    """Switches a repository on or off."""
    path, number = str(call["path"]), call.number("index")
    _check_digest(call)
    found = _repositories(call)
    if path not in found:
        raise failure(f"invalid path - {path}")
    if not 0 <= number < len(found[path]["repositories"]):
        raise failure(f"invalid index - {number}")
    if call.has("enabled"):
        with call.pve.cluster.lock:
            table = call.pve.table("node").setdefault("repository_states", {})
            table[f"{path}:{number}"] = int(call.flag("enabled"))
            call.pve.cluster.save()


@lru_cache(maxsize=1)
def _appliances() -> dict[str, dict[str, str]]:
    """The system templates that Proxmox offers for download, by file name."""
    found = {}
    source = "http://download.proxmox.com/images"
    for item in json.loads((Path(__file__).parents[1] / "appliances.json").read_text()):
        name = str(item["location"]).rpartition("/")[2]
        title = f"{item['package']} {item['version']}"
        found[name] = {
            **item, "location": f"{source}/{item['location']}", "source": source, "template": name, "type": "lxc",
            "section": "system", "headline": title, "description": title,
            "maintainer": "Proxmox Support Team <support@proxmox.com>",
        }  # fmt: skip
    return found


@route("GET", ONE + "/aplinfo")
def templates(call: Call) -> list[dict[str, str]]:
    """The container templates that could be downloaded."""
    return list(_appliances().values())


@route("POST", ONE + "/aplinfo")
def download_template(call: Call) -> str:
    """Puts a stand-in for a template where no guest has processes; else fails as a node without network does."""
    sid, name = str(call["storage"]), str(call["template"])
    known = _appliances().get(name)
    if known is None:
        raise bad(template="no such template")
    config = volumes.enabled_storage(call.pve, sid)
    if "vztmpl" not in volumes.contents(config):
        raise failure(f"storage '{sid}' does not support templates")
    target = volumes.root(call.pve, sid) / volumes.FOLDERS["vztmpl"] / name
    shown = f"{folder_path(config, sid, 'vztmpl')}/{name}"

    def work(log: Log) -> None:
        log(f"downloading {known['location']} to {shown}")
        if target.is_file():
            log("calculating checksum of existing file...OK, got correct file already, no need to download")
            return
        if call.pve.backend.name != "none":
            host = urlsplit(known["location"]).hostname
            raise TaskError(f"download failed: wget: unable to resolve host address '{host}'")
        log("pvelab: guests of this server have no processes, so an empty archive stands for the template")
        target.parent.mkdir(parents=True, exist_ok=True)
        tarfile.open(target, "w").close()
        log(f"download of '{known['location']}' to '{shown}' finished")

    return call.start("download", name, work)


@route("GET", ONE + "/query-url-metadata", slow=True)
def url_metadata(call: Call) -> dict[str, Any]:
    """Name, size and type of what a URL of the caller leads to."""
    url = str(call["url"])
    try:
        headers = fetch.head(url, call.flag("verify-certificates", default=True))
    except ConnectionError as error:
        raise failure(f"invalid server response: '{error}'") from error
    disposition = headers.get("Content-Disposition") or ""
    named = re.search(r'filename="([^"]*)"', disposition) or re.search(r"filename=([^;]*)", disposition)
    named = named or re.fullmatch(r"[^?]+/([^?/]*)(?:\?.*)?", url)
    found: dict[str, Any] = {}
    if named and named[1]:
        found["filename"] = named[1]
    if headers.get("Content-Length"):
        found["size"] = int(headers["Content-Length"])
    kind = (headers.get("Content-Type") or "").partition(";")[0]
    return {**found, "mimetype": kind} if kind else found


@route("GET", ONE + "/query-oci-repo-tags")
def oci_tags(call: Call) -> list[str]:
    """Refused as on a node that reaches no registry: the lab speaks to none."""
    raise failure(f"command 'skopeo list-tags docker://{call['reference']}' failed: exit code 1")
