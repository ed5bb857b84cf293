"""Packages and templates: what could be fetched."""

from __future__ import annotations

import json
import re
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .. import fetch, volumes
from ..errors import bad, existing, failure, refuse_if
from ..registry import Call, route
from ..storage_paths import folder_path
from ..tasks import Log

ONE = "/nodes/{node}"


@route("POST", ONE + "/apt/update")
def refresh(call: Call) -> str:
    """Ends well without asking anyone: the lab has no package lists."""

    def work(log: Log) -> None:
        if not call.flag("quiet"):
            log("starting apt-get update")
            log("Reading package lists...")

    return call.start("aptupdate", "", work)


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
    known = existing(_appliances().get(name), bad(template="no such template"))
    config = volumes.enabled_storage(call.pve, sid)
    refuse_if("vztmpl" not in volumes.contents(config), f"storage '{sid}' does not support templates")
    target = volumes.root(call.pve, sid) / volumes.FOLDERS["vztmpl"] / name
    shown = f"{folder_path(config, sid, 'vztmpl')}/{name}"

    def work(log: Log) -> None:
        log(f"downloading {known['location']} to {shown}")
        if target.is_file():
            log("calculating checksum of existing file...OK, got correct file already, no need to download")
            return
        if call.pve.backend.name != "none":
            host = urlsplit(known["location"]).hostname
            raise failure(f"download failed: wget: unable to resolve host address '{host}'")
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
