"""Backup archives: what configuration an archive holds."""

from __future__ import annotations

from pathlib import Path

from . import store
from .errors import TaskError
from .guestconf import GuestConf, Values, from_text
from .pve import Pve


def config_file(archive: Path) -> Path:
    """Where the configuration of a backup is kept: beside its archive."""
    return archive.with_name(archive.name + ".conf")


def write_config(archive: Path, conf: GuestConf) -> None:
    """Keeps a guest's configuration with its archive."""
    plain = GuestConf(conf.vmid, conf.kind, dict(conf.values))
    plain.values.pop("lock", None)
    store.write(config_file(archive), plain.to_text().encode())


def read_config(pve: Pve, archive: Path, vmid: int, kind: str) -> Values:
    """The configuration that an archive holds."""
    file = config_file(archive)
    if not file.is_file():
        raise TaskError("unable to restore - archive contains no configuration file")
    return from_text(vmid, kind, file.read_text()).values
