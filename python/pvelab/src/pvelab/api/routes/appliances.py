"""Templates of containers that could be downloaded."""

from __future__ import annotations

import json
import tarfile
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from .. import volumes
from ..errors import bad, existing, failure, refuse_if
from ..registry import Call, route
from ..storage_paths import folder_path
from ..tasks import Log

ONE = "/nodes/{node}"


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
