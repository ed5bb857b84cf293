"""Files that come to a storage by upload."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from .. import volumes
from ..errors import bad, failure, refuse_if
from ..registry import Call, route
from ..storage_paths import activated, folder_path
from ..tasks import Log
from .storage_content import ONE

NAMES = {
    "iso": r"[^/]+\.(?:iso|img)",
    "vztmpl": r"[^/]+\.(?:tar|tar\.(?:gz|xz|zst|bz2))",
    "import": r"[a-zA-Z0-9\-.+=_]+\.(?:ova|qcow2|raw|vmdk)",
}


def normalized(name: str) -> str:
    """A file name as PVE keeps it: without directories, other characters as underscores."""
    return re.sub(r"[^a-zA-Z0-9_.\-]", "_", re.sub(r"^.*[/\\]", "", name.removesuffix("\n"), flags=re.DOTALL))


def _checked_name(call: Call) -> str:
    kind = str(call["content"])
    name = normalized(str(call["filename"]))
    if not re.fullmatch(NAMES[kind], name, 0 if kind == "import" else re.I):
        raise bad(filename="invalid filename or wrong extension" if kind == "import" else "wrong file extension")
    return name


def _verify(call: Call, file: Path, log: Log) -> None:
    if not call.has("checksum"):
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, str(call["checksum-algorithm"])).hexdigest()
    if found.lower() != str(call["checksum"]).lower():
        log("calculating checksum...")
        raise failure(f"checksum mismatch: got '{found}' != expect '{call['checksum']}'")
    log("calculating checksum...OK, checksum verified")


@route("POST", ONE + "/upload")
def upload(call: Call) -> str:
    """Takes the file that the server received into a storage."""
    sid, kind = str(call["storage"]), str(call["content"])
    config = volumes.enabled_storage(call.pve, sid)
    refuse_if(config["type"] not in volumes.FILE_BASED, f"can't upload to storage type '{config['type']}'")
    refuse_if(not call.has("tmpfilename"), "missing temporary file name")
    shown = str(call["tmpfilename"])
    temporary = call.pve.state / "upload" / Path(shown).name
    refuse_if(not temporary.is_file(), f"temporary file '{shown}' does not exist")
    name = _checked_name(call)
    refuse_if(kind not in volumes.contents(config), f"storage '{sid}' does not support '{kind}' content")
    activated(call, sid)
    target = volumes.root(call.pve, sid) / volumes.FOLDERS[kind] / name

    def work(log: Log) -> None:
        try:
            _import(call, temporary, target, f"{folder_path(config, sid, kind)}/{name}", log)
        finally:
            temporary.unlink(missing_ok=True)

    return call.start("imgcopy", "", work)


def _import(call: Call, temporary: Path, target: Path, shown: str, log: Log) -> None:
    source = str(call["tmpfilename"])
    log(f"starting file import from: {source}")
    _verify(call, temporary, log)
    log(f"target node: {call['node']}")
    log(f"target file: {shown}")
    log(f"file size is: {temporary.stat().st_size}")
    log(f"command: cp -- {source} {shown}")
    refuse_if("storage-full" in call.faults, f"import failed: cp: error writing '{shown}': No space left on device")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(temporary, target)
    log("finished file import successfully")
