"""Files that come to a storage: by upload, by URL, from a registry; and what a client may ask of those there."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from .. import fetch, images, volumes
from ..errors import ApiError, bad, failure, refuse_if
from ..registry import Call, route
from ..storage_paths import activated, folder_path
from ..tasks import Log
from .storage_content import ONE

NAMES = {
    "iso": r"[^/]+\.(?:iso|img)",
    "vztmpl": r"[^/]+\.(?:tar|tar\.(?:gz|xz|zst|bz2))",
    "import": r"[a-zA-Z0-9\-.+=_]+\.(?:ova|qcow2|raw|vmdk)",
}
DECOMPRESS = {
    "gz": ["zcat"], "lzo": ["lzop", "-d", "-c"], "zst": ["zstd", "-q", "-d", "-c"], "bz2": ["bzcat", "-q"],
}  # fmt: skip


def normalized(name: str) -> str:
    """A file name as PVE keeps it: without directories, other characters as underscores."""
    return re.sub(r"[^a-zA-Z0-9_.\-]", "_", re.sub(r"^.*[/\\]", "", name.removesuffix("\n"), flags=re.DOTALL))


def _checked_name(call: Call) -> str:
    kind = str(call["content"])
    name = normalized(str(call["filename"]))
    if not re.fullmatch(NAMES[kind], name, 0 if kind == "import" else re.I):
        raise bad(filename="invalid filename or wrong extension" if kind == "import" else "wrong file extension")
    return name


def _digest(call: Call, file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, str(call["checksum-algorithm"])).hexdigest()


def _verify(call: Call, file: Path, log: Log, ending: str = "") -> None:
    if not call.has("checksum"):
        return
    found = _digest(call, file)
    if found.lower() != str(call["checksum"]).lower():
        log("calculating checksum...")
        raise failure(f"checksum mismatch: got '{found}' != expect '{call['checksum']}'{ending}")
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
    images.check(temporary, source, str(call["content"]), target.name)
    log(f"target node: {call['node']}")
    log(f"target file: {shown}")
    log(f"file size is: {temporary.stat().st_size}")
    log(f"command: cp -- {source} {shown}")
    refuse_if("storage-full" in call.faults, f"import failed: cp: error writing '{shown}': No space left on device")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(temporary, target)
    log("finished file import successfully")


@route("POST", ONE + "/download-url")
def download_url(call: Call) -> str:
    """Fetches a URL that the caller names into a storage."""
    sid, kind = str(call["storage"]), str(call["content"])
    config = volumes.enabled_storage(call.pve, sid)
    if config["type"] not in volumes.FILE_BASED:
        raise failure(f"can't upload to storage type '{config['type']}', not a file based storage!")
    refuse_if(kind not in volumes.contents(config), f"storage '{sid}' is not configured for content-type '{kind}'")
    name = _checked_name(call)
    activated(call, sid)
    target = volumes.root(call.pve, sid) / volumes.FOLDERS[kind] / name
    shown = f"{folder_path(config, sid, kind)}/{name}"
    return call.start("download", name, lambda log: _download(call, target, shown, log))


def _download(call: Call, target: Path, shown: str, log: Log) -> None:
    url, compression = str(call["url"]), call.get("compression")
    if compression:
        refuse_if(call["content"] != "iso", f"decompression not supported for {call['content']}")
        refuse_if(compression not in DECOMPRESS, "no decompression method found")
    log(f"downloading {url} to {shown}")
    if target.is_file():
        _settle_existing(call, target, shown, log)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.tmp_dwnl.{log.task.pid}")
    try:
        fetch.fetch(url, partial, call.flag("verify-certificates", default=True), log)
        if "storage-full" in call.faults:
            raise failure(f"download failed: Cannot write to '{shown}' (No space left on device).")
        _verify(call, partial, log)
        if compression:
            log(f"decompressing {shown}.tmp_dwnl.{log.task.pid} to {shown}.tmp_dcom.{log.task.pid}")
            _decompress(partial, DECOMPRESS[compression])
        try:
            images.check(partial, f"{shown}.tmp_dwnl.{log.task.pid}", str(call["content"]), target.name)
        except ApiError as error:
            raise failure(f"failed to verify file: {error}") from error
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    log(f"download of '{url}' to '{shown}' finished")


def _settle_existing(call: Call, target: Path, shown: str, log: Log) -> None:
    refuse_if(not call.has("checksum"), f"refusing to override existing file '{shown}'")
    found = _digest(call, target)
    if found.lower() != str(call["checksum"]).lower():
        log("calculating checksum of existing file...")
        raise failure(f"checksum mismatch: got '{found}' != expect '{call['checksum']}', aborting")
    log("calculating checksum of existing file...OK, got correct file already, no need to download")


def _decompress(file: Path, command: list[str]) -> None:
    unpacked = file.with_name(f"{file.name}.plain")
    try:
        with unpacked.open("wb") as out:
            code = subprocess.run([*command, str(file)], stdout=out, check=False).returncode
    except FileNotFoundError as error:
        unpacked.unlink(missing_ok=True)
        raise failure(f"command '{' '.join(command)}' failed: open3: exec failed") from error
    if code:
        unpacked.unlink(missing_ok=True)
        raise failure(f"command '{' '.join(command)} {file.name}' failed: exit code {code}")
    unpacked.replace(file)
