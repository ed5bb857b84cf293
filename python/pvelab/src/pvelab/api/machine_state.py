"""What of a virtual machine's running state is kept: paused machines, memory saved to a volume."""

from __future__ import annotations

from . import volume_features, volumes
from .errors import failure
from .guestconf import GuestConf, Values
from .pve import Pve
from .qemu_config import memory_mib
from .registry import Call

MACHINE = "pc-i440fx-10.1+pve0"
CPU = "kvm64,enforce,+kvm_pv_eoi,+kvm_pv_unhalt,+lahf_lm,+sep"
DRIVER_STATE_MIB = 500
BLOCKERS = ("amd-sev", "intel-tdx")


def paused(pve: Pve) -> set[int]:
    """The machines that are paused now (only a backend without processes can pause one)."""
    found: set[int] = getattr(pve.backend, "paused", set())
    return found & pve.runtime.all().keys() if found else found


def check_savable(conf: GuestConf, with_memory: bool) -> None:
    """Raises when the state of the machine could not be restored."""
    if not with_memory:
        return
    blockers = [key for key in BLOCKERS if key in conf.values]
    if any(key.startswith("virtiofs") for key in conf.values):
        blockers.append("virtiofs")
    if blockers:
        text = "Cannot live-migrate, snapshot (with RAM), or hibernate a VM with"
        raise failure(f"{text}: {', '.join(blockers)}")


def state_storage(pve: Pve, conf: GuestConf) -> str:
    """Where the memory of a machine is saved: the named storage, else one that it uses already."""
    if conf.values.get("vmstatestorage"):
        return conf.values["vmstatestorage"]
    used = [volumes.split(volid)[0] for _, _, volid in volume_features.each("qemu", conf.values) if volid[0] != "/"]
    files = [sid for sid in used if volumes.storage(pve, sid)["type"] in volumes.FILE_BASED]
    return (files or used or ["local"])[-1]


def save(call: Call, conf: GuestConf, label: str, sid: str | None = None) -> Values:
    """Makes the volume for a machine's memory and returns what the configuration keeps of it."""
    size = (memory_mib(conf.values.get("memory")) * 2 + DRIVER_STATE_MIB) << 20
    volid = volumes.allocate(call, sid or state_storage(call.pve, conf), conf.vmid, size, label=label, kind="raw")
    return {"vmstate": volid, "runningmachine": machine(conf.values), "runningcpu": CPU}


def machine(values: Values) -> str:
    """The machine type that a machine runs with: the newest version, unless one is pinned."""
    kind = values.get("machine", "").partition(",")[0].removeprefix("type=")
    return {"": MACHINE, "pc": MACHINE, "q35": "pc-q35-10.1+pve0"}.get(kind, kind)
