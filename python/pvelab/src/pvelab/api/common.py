"""What containers and virtual machines have in common: names, tags, bridges, listing, pending."""

from __future__ import annotations

import base64
import re
import secrets

from . import volumes
from .errors import denied, failure, refuse_if
from .guestconf import GuestConf
from .pve import Pve
from .registry import Call
from .tasks import Log
from .words import parse_size, split_list, truth

WORD = {"lxc": "CT", "qemu": "VM"}
KEY = re.compile(r"(ssh-rsa|ssh-dss|ssh-ed25519|ecdsa-sha2-nistp\d+|sk-[\w@.-]+) ([A-Za-z0-9+/=]+)(?=\s|$)")
NO_TAGS = " "  # what is read again of the line that PVE writes for tags that were sent without a value


def new_mac() -> str:
    """A random address below the prefix that a datacenter has by itself."""
    return ":".join(["BC:24:11", *(f"{octet:02X}" for octet in secrets.token_bytes(3))])


def unique_tags(text: str) -> str:
    """Tags as PVE keeps them: lower case, sorted, each once."""
    return ";".join(sorted({tag.lower() for tag in split_list(text)}))


def cpu_shares(text: str) -> str:
    """CPU shares as they are kept: never above what cgroups v2 takes."""
    return "10000" if int(text) >= 10000 else text


def check_vm(call: Call, vmid: int, pool: str | None, *privs: str) -> None:
    """Whether the caller has privileges on a guest, or on the pool that it will be in."""
    if pool and call.allowed(f"/pool/{pool}", *privs):
        return
    call.check(f"/vms/{vmid}", *privs)


def check_bridge(call: Call, bridge: str | None, tag: str | None, trunks: str | None) -> None:
    """Whether the caller may connect a guest to a bridge (and VLAN)."""
    if call.is_root or not bridge:
        return
    base = f"/sdn/zones/localnetwork/{bridge}"
    if tag:
        call.check(f"{base}/{tag}", "SDN.Use")
    for item in sorted(_tags_of(trunks)):
        call.check(f"{base}/{item}", "SDN.Use")
    if not tag and not trunks:
        call.check(base, "SDN.Use")


def _tags_of(trunks: str | None) -> set[int]:
    found: set[int] = set()
    for part in (trunks or "").split(";"):
        first, _, last = part.partition("-")
        if first.isdigit():
            found |= set(range(int(first), int(last or first) + 1))
    return found


def bridges(pve: Pve) -> set[str]:
    """The names of the node's active bridges."""
    return {n for n, v in pve.network.data["active"].items() if v["type"] in ("bridge", "OVSBridge")}


def grown(call: Call, volid: str, refusal: str) -> int | None:
    """The size that a call asks for a volume, None where it has it already; a smaller one is refused."""
    call.check(f"/storage/{volumes.split(volid)[0]}", "Datastore.AllocateSpace")
    volumes.activate(call.pve, volid)
    text, current = str(call["size"]), volumes.size_of(call.pve, volid)
    asked = parse_size(text.lstrip("+")) or 0
    size = current + asked if text.startswith("+") else asked
    refuse_if(size < current, refusal)
    return None if size == current else size


def resize(call: Call, conf: GuestConf, volid: str, size: int, log: Log) -> None:
    """Grows a volume of a guest."""
    refuse_if("storage-full" in call.faults, f"unable to resize volume {volid}: No space left on device")
    call.pve.backend.resize(call.pve.spec(conf), str(call["disk"]), size, log)
    volumes.resize(call.pve, volid, size)


def is_template(conf: GuestConf) -> bool:
    """Whether the guest was turned into a template."""
    return truth(conf.values.get("template"))


def set_lock(pve: Pve, vmid: int, lock: str | None) -> None:
    """Writes the `lock` of a container's config, or takes it away."""
    pve.guests.set(pve.conf(vmid, "lxc"), {"lock": lock})


def check_lock(conf: GuestConf) -> None:
    """Raises when the guest's config holds a lock."""
    if conf.values.get("lock"):
        raise failure(f"{WORD[conf.kind]} is locked ({conf.values['lock']})")


def check_protection(conf: GuestConf, what: str) -> None:
    """Raises when the guest is protected."""
    refuse_if(truth(conf.values.get("protection")), f"{what} - protection mode enabled")


def check_unused_vmid(pve: Pve, vmid: int) -> None:
    """Raises when a VMID is taken."""
    found = pve.guests.get(vmid)
    if found:
        raise failure(f"{WORD[found.kind]} {vmid} already exists on node '{pve.node.name}'")


def check_pool(pve: Pve, pool: str | None) -> None:
    """Raises the 403 that PVE gives for a missing pool."""
    if pool is not None and pool not in pve.users.data["pools"]:
        raise denied(f"pool '{pool}' does not exist")


def add_to_pool(pve: Pve, vmid: int, pool: str | None) -> None:
    """Puts a guest into a pool."""
    if not pool:
        return
    with pve.users.changed():
        for entry in pve.users.data["pools"].values():
            entry["vms"] = [v for v in entry["vms"] if v != vmid]
        if pool in pve.users.data["pools"]:
            pve.users.data["pools"][pool]["vms"].append(vmid)


def forget_access(pve: Pve, vmid: int) -> None:
    """Removes a destroyed guest from pools and its path from the access control list."""
    with pve.users.lock:
        before = f"/vms/{vmid}" in pve.users.data["acl"]
        pve.users.data["acl"].pop(f"/vms/{vmid}", None)
        for entry in pve.users.data["pools"].values():
            if vmid in entry["vms"]:
                entry["vms"].remove(vmid)
                before = True
        if before:
            pve.users.save()


def size_field(text: str | None) -> str | None:
    """The size=... part of a disk's property string."""
    for part in (text or "").split(","):
        if part.startswith("size="):
            return part[5:]
    return None


def check_keys(text: str | None) -> None:
    """Raises unless every line is an OpenSSH public key, as ssh-keygen reads one."""
    for line in filter(str.strip, (text or "").split("\n")):
        found = KEY.search(line)
        refuse_if(not found or not _is_key(found[1], found[2]), "SSH public key validation error")


def _is_key(kind: str, text: str) -> bool:
    """Whether a key's text is fields with their lengths before them, of which the first is the key's type."""
    try:
        rest, fields = base64.b64decode(text, validate=True), list[bytes]()
    except ValueError:
        return False
    while len(rest) > 4 and (size := int.from_bytes(rest[:4], "big")) <= len(rest) - 4:
        fields.append(rest[4 : size + 4])
        rest = rest[size + 4 :]
    ed25519 = kind == "ssh-ed25519" and (len(fields) != 2 or len(fields[1]) != 32)
    return not rest and len(fields) > 1 and fields[0].decode("utf-8", "replace") == kind and not ed25519
