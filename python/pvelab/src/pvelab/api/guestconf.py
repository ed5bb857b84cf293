"""A guest's stored configuration: the text PVE would keep, its pending changes and its snapshots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote

from . import store
from .digests import digest
from .errors import failure, refuse_if
from .surface import parameters
from .words import truth

Values = dict[str, str]
DISK = re.compile(r"rootfs|(mp|ide|sata|scsi|virtio|efidisk|tpmstate)\d+")


@dataclass
class GuestConf:
    """One guest. Never changed in place once stored: `copy`, change the copy, `Guests.save` it."""

    vmid: int
    kind: str  # lxc or qemu
    values: Values = field(default_factory=dict)
    pending: Values = field(default_factory=dict)
    deleted: dict[str, bool] = field(default_factory=dict)  # option -> forced
    snapshots: dict[str, Values] = field(default_factory=dict)
    digest: str = ""

    def copy(self) -> GuestConf:
        """A copy to change."""
        return GuestConf(
            self.vmid,
            self.kind,
            dict(self.values),
            dict(self.pending),
            dict(self.deleted),
            {name: dict(values) for name, values in self.snapshots.items()},
            self.digest,
        )

    @property
    def merged(self) -> Values:
        """The values as they will be once what is pending is applied."""
        found = {**self.values, **self.pending}
        return {k: v for k, v in found.items() if k not in self.deleted or not truth(v)}  # PVE keeps what is off

    def drop_settled(self) -> None:
        """Forgets what waits though nothing would change by it."""
        self.pending = {k: v for k, v in self.pending.items() if self.values.get(k) != v}
        self.deleted = {k: forced for k, forced in self.deleted.items() if k in self.values}

    @property
    def name(self) -> str:
        """The guest's display name."""
        if self.kind == "lxc":
            return self.values.get("hostname") or f"CT{self.vmid}"
        return self.values.get("name") or f"VM {self.vmid}"

    def to_text(self) -> str:
        """The file's text."""
        lines = _section(self.values)
        if self.pending or self.deleted:
            lines += ["", "[pve:pending]" if self.kind == "lxc" else "[PENDING]"]
            if self.deleted:
                marks = [f"!{name}" if forced else name for name, forced in sorted(self.deleted.items())]
                lines.append(f"delete: {','.join(marks)}")
            lines += _section(self.pending)
        for name, values in sorted(self.snapshots.items()):
            lines += ["", f"[{name}]", *_section(values)]
        return "\n".join(lines) + "\n"


def _section(values: Values) -> list[str]:
    lines = [f"#{quote(line, safe=' !$&()*+,/:;=?@[]<>|~')}" for line in description_lines(values)]
    return lines + [f"{key}: {values[key]}" for key in sorted(values) if key != "description"]


def _check_lines(conf: GuestConf) -> None:
    """Raises PVE's refusal of a container's value that would be read again as more than one line."""
    for values in (conf.values, conf.pending):
        for key in sorted(values):
            refuse_if(key != "description" and "\n" in values[key], f"detected invalid newline inside property '{key}'")


def _rewrite(conf: GuestConf) -> None:
    """Rewrites a virtual machine's values as PVE writes them; raises its refusal of a wrong one."""
    if conf.values.get("sockets"):
        conf.values.pop("smp", None)
    elif conf.values.get("smp"):
        conf.values["sockets"] = conf.values.pop("smp")
        conf.values.pop("cores", None)
    for values in (conf.values, conf.pending):
        for key in sorted(values.keys() - {"description"}):
            try:
                values[key] = _written(key, values[key])
            except ValueError as error:
                raise failure(f"unable to parse value of '{key}' - {error}") from None


def _written(key: str, value: str) -> str:
    refuse_if(re.search(r"[\n\r]", value), ValueError("property contains a line feed"))
    schema = parameters("PUT", "/nodes/{node}/qemu/{vmid}/config").get(key, {})
    kind = schema.get("type")
    if (kind == "integer" and not re.fullmatch(r"[0-9]+", value)) or (
        kind == "number" and not re.fullmatch(r"[0-9]+(\.[0-9]+)?", value)
    ):
        raise ValueError(f"type check ('{kind}') failed - got '{value}'")
    if kind == "integer":
        return str(int(value))
    quoted = re.fullmatch(r'"(.*)"', value) if kind == "string" and not schema.get("format") else None
    return quoted[1] if quoted else value


def description_lines(values: Values) -> list[str]:
    """The description's lines, without the end of the last one."""
    text = values.get("description", "").rstrip("\n")
    return text.split("\n") if text else []


def from_text(vmid: int, kind: str, text: str) -> GuestConf:
    """Reads a file's text."""
    conf = GuestConf(vmid, kind)
    values = conf.values
    notes: list[str] = []

    def close() -> None:
        if notes:
            text = "\n".join(notes)
            values["description"] = f"{text}\n" if kind == "lxc" else text.rstrip()
            notes.clear()

    for line in text.splitlines():
        if line.startswith("[") and line.endswith("]"):
            close()
            section = line[1:-1]
            pending = section.lower() in ("pve:pending", "pending")
            if section.startswith("special:"):
                values = {}  # of the cloud-init drive, which nobody looks into
            else:
                values = conf.pending if pending else conf.snapshots.setdefault(section, {})
        elif line.startswith("#"):
            notes.append(unquote(line[1:]))
        elif ": " in line:
            key, _, value = line.partition(": ")
            if key == "delete" and values is conf.pending:
                conf.deleted = {m.lstrip("!"): m.startswith("!") for m in value.split(",")}
            else:
                values[key] = value
    close()
    conf.digest = digest(text)
    return conf


def used_volumes(conf: GuestConf) -> set[str]:
    """The volumes that disks name now (of a virtual machine also the pending ones): they are not unused."""
    found: set[str] = set()
    for values in (conf.values, conf.pending) if conf.kind == "qemu" else (conf.values,):
        for key, text in values.items():
            if DISK.fullmatch(key):
                found |= {part.removeprefix("file=").removeprefix("volume=") for part in text.split(",")}
    return found


class Guests:
    """All guests of the node, on disk as PVE keeps them."""

    def __init__(self, root: Path) -> None:
        self.folders = {"lxc": root / "lxc", "qemu": root / "qemu-server"}
        self._all: dict[int, GuestConf] = {}
        for kind, folder in self.folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob("*.conf"):
                self._all[int(file.stem)] = from_text(int(file.stem), kind, file.read_text())

    def get(self, vmid: int) -> GuestConf | None:
        """The stored configuration of a guest."""
        return self._all.get(vmid)

    def all(self) -> list[GuestConf]:
        """All guests by VMID."""
        return [conf for _, conf in sorted(self._all.copy().items())]

    def save(self, conf: GuestConf) -> GuestConf:
        """Stores a configuration; its digest is that of the text on disk."""
        for key in [k for k in conf.values if k.startswith("unused") and conf.values[k] in used_volumes(conf)]:
            del conf.values[key]
        (_rewrite if conf.kind == "qemu" else _check_lines)(conf)
        text = conf.to_text()
        store.write(self.folders[conf.kind] / f"{conf.vmid}.conf", text.encode())
        stored = from_text(conf.vmid, conf.kind, text)
        self._all[conf.vmid] = stored
        return stored

    def set(self, conf: GuestConf, values: Mapping[str, str | None]) -> GuestConf:
        """Stores a configuration with other values; None takes one away."""
        fresh = conf.copy()
        fresh.values = {k: v for k, v in {**conf.values, **values}.items() if v is not None}
        return self.save(fresh)

    def remove(self, conf: GuestConf) -> None:
        """Forgets a guest."""
        store.remove(self.folders[conf.kind] / f"{conf.vmid}.conf")
        self._all.pop(conf.vmid, None)
