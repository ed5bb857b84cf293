"""What has to stand before the node boots, so that its cards are the guests': flags, drivers, memory, names, kernel.

All of it is in files of our own but the one line of systemd-boot, to which flags are added that were missing. A stamp
is written last: without it the tools that put the files into force are run again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from aihub.names import Layout

from . import arc, nics
from .actual import ActualNode
from .cards import Found, bound
from .desired import Desired
from .hardware import GRUB, SYSTEMD_BOOT
from .refusal import RefusedByNode
from .services import file_part
from .steps import Kind, Step, Upload, command
from .texts import render

CMDLINE = "/etc/kernel/cmdline"
NEXT_BOOT = "in force at the next boot"
_BLACKWELL = re.compile(r"10de:2[b-f]..")  # GB20x: RTX 50 and RTX PRO Blackwell
_INITRAMFS = "update-initramfs -u -k all"

Differences = list[tuple[str, str, str]]


def preparation(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> list[Step]:
    """The steps that prepare the node for its cards; or those that put back what an earlier hub had changed."""
    if not found:
        # What a guest still has stays as it is.
        return [] if desired.held else removal(desired, actual)
    return [_flags(desired, actual), _binding(desired, actual, found), _kernel(desired, actual, found)]


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The steps that take away what was set for cards; nothing where nothing was."""
    return [
        step for step in (_no_flags(desired, actual), _no_binding(desired, actual), _no_kernel(desired, actual)) if step
    ]


def notes(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> tuple[str, ...]:
    """What somebody else has set, and is left alone."""
    pin, ours = actual.values.get("pin", ""), actual.values.get("pinned", "")
    other = [f"kernel {pin} is pinned, not {ours}, with which its cards were set up"]
    told = other if any(map(touchy, found)) and pin and ours and pin != ours else []
    if found and (said := arc.others(desired, actual)):
        told = [*told, said]
    return tuple(f"node {desired.node}: {text}" for text in told)


def touchy(found: Found) -> bool:
    """Whether a card is of the family that does not come back from every reset."""
    return bool(_BLACKWELL.fullmatch(found.main.id))


# The kernel's command line.


def _wanted_flags(actual: ActualNode) -> list[str]:
    intel = "Intel" in actual.values.get("processor", "")
    return ["intel_iommu=on", "iommu=pt"] if intel else ["iommu=pt"]


def _loaders(desired: Desired, actual: ActualNode) -> list[str]:
    """The boot loaders that read what we write; both where a partition has both."""
    if actual.loaders:
        return list(dict.fromkeys(actual.loaders))
    found = [GRUB] if "grub" in actual.values else [SYSTEMD_BOOT] if "cmdline" in actual.values else []
    if not found:
        raise RefusedByNode(
            "precondition",
            f"its boot loader can't be told: neither /etc/default/grub nor {CMDLINE} is there",
            "as root on it, `proxmox-boot-tool status` and `efibootmgr -v` say what it boots with",
        )
    return found


def _refresh(actual: ActualNode) -> str:
    return "update-grub" if "grub" in actual.values and not actual.loaders else "proxmox-boot-tool refresh"


def _flags(desired: Desired, actual: ActualNode) -> Step:
    layout, loaders, flags = Layout(desired.hub), _loaders(desired, actual), _wanted_flags(actual)
    uploads: list[str | Upload] = []
    differences: Differences = []
    if GRUB in loaders:
        uploads, differences = file_part(actual, layout.grub, render("cards.grub.cfg.j2", desired, flags=flags))
    present = actual.values.get("cmdline", "").split()
    missing = [flag for flag in flags if flag not in present] if SYSTEMD_BOOT in loaders else []
    if missing:
        added = list(dict.fromkeys([*actual.values.get("added flags", "").split(), *missing]))
        uploads += [
            Upload(layout.flags, " ".join(added) + "\n"),
            Upload(CMDLINE, " ".join([*present, *missing]) + "\n"),
        ]
        differences.append((CMDLINE, "without " + " ".join(missing), "with them"))
    return _stamped("flags", "kernel flags", layout.flags_done, actual, differences, uploads, flags, [_refresh(actual)])


def _no_flags(desired: Desired, actual: ActualNode) -> Step | None:
    layout = Layout(desired.hub)
    files = [path for path in (layout.grub, layout.flags, layout.flags_done) if path in actual.files]
    if not files:
        return None
    commands: list[str | Upload] = []
    added = actual.values.get("added flags", "").split()
    present = actual.values.get("cmdline", "").split()
    if kept := [flag for flag in present if flag not in added]:
        commands += [Upload(CMDLINE, " ".join(kept) + "\n")] if kept != present else []
    commands += [command("rm", "-f", layout.grub), _refresh(actual), command("rm", "-f", *files)]
    return Step("flags", "kernel flags", "delete", (("kernel flags", "ours", f"none, {NEXT_BOOT}"),), tuple(commands))


# Drivers, and the memory that ZFS leaves.


def _binding(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> Step:
    layout, blackwell = Layout(desired.hub), [one for one in found if touchy(one)]
    ids = sorted({ident for idents in bound(found, actual.devices).values() for ident in idents})
    _refuse_other_ids(desired, actual, layout, ids)
    texts = {
        layout.card_modules: render("cards.modules.conf.j2", desired),
        layout.card_options: render("cards.modprobe.conf.j2", desired, ids=ids, stay_awake=bool(blackwell)),
    }
    if blackwell:
        split = [one.main.id.split(":") for one in blackwell]
        texts[layout.card_rules] = render("cards.rules.j2", desired, cards=split)
    cached = arc.limit(desired, actual)
    if cached:
        texts[layout.arc] = render("zfs.conf.j2", desired, arc=cached)
    texts |= nics.files(desired, actual)
    uploads: list[str | Upload] = []
    differences: Differences = []
    for path, text in texts.items():
        more, also = file_part(actual, path, text)
        uploads += more
        differences += also
    for path in layout.binding:
        if path in actual.files and path not in texts:
            uploads.append(command("rm", "-f", path))
            differences.append((path, "ours", "none"))
    after = [_INITRAMFS]
    if cached:
        limit = "/sys/module/zfs/parameters/zfs_arc_max"
        after.append(f"if [ -w {limit} ]; then echo {cached} >{limit}; fi")
    return _stamped("binding", "drivers of its cards", layout.binding_done, actual, differences, uploads, texts, after)


def _refuse_other_ids(desired: Desired, actual: ActualNode, layout: Layout, ids: Sequence[str]) -> None:
    """Of two lines with `ids=` the kernel heeds one: somebody's cards would no longer be taken."""
    for option in actual.options:
        other = option.value(("vfio-pci", "vfio_pci"), "ids")
        if option.path != layout.card_options and other and not set(ids) <= set(other.lower().split(",")):
            raise RefusedByNode(
                "conflict",
                f"{option.path} gives vfio-pci the ids {other}, and ours are {','.join(ids)}: "
                "the kernel heeds one such line",
                f"write our ids into {option.path} beside its own, or remove the line there",
            )


def _no_binding(desired: Desired, actual: ActualNode) -> Step | None:
    layout = Layout(desired.hub)
    links = nics.removable(desired, actual)
    if not links and not any(path in actual.files for path in (*layout.binding, layout.binding_done)):
        return None
    commands = (command("rm", "-f", *layout.binding, *links), _INITRAMFS, command("rm", "-f", layout.binding_done))
    differences = (("vfio-pci, blacklist, memory of ZFS, names of network cards", "ours", f"none, {NEXT_BOOT}"),)
    return Step("binding", "drivers of its cards", "delete", differences, commands)


# The kernel that its cards are known to work with.


def _kernel(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> Step:
    """Cards that do not come back from every reset have broken with new kernels: the one that runs stays."""
    layout = Layout(desired.hub)
    pin, ours = actual.values.get("pin", ""), actual.values.get("pinned", "")
    if not any(map(touchy, found)):
        return _no_kernel(desired, actual) or Step("kernel", "kernel")
    if pin:
        return Step("kernel", "kernel")  # somebody's own choice, or ours
    version = ours or actual.values["kernel"]
    commands = (Upload(layout.kernel, version + "\n"), command("proxmox-boot-tool", "kernel", "pin", version))
    return Step("kernel", "kernel", "configure", (("pinned", "none", version),), commands)


def _no_kernel(desired: Desired, actual: ActualNode) -> Step | None:
    layout = Layout(desired.hub)
    if layout.kernel not in actual.files:
        return None
    pin, ours = actual.values.get("pin", ""), actual.values.get("pinned", "")
    unpin = [command("proxmox-boot-tool", "kernel", "unpin")] if pin and pin == ours else []
    commands = (*unpin, command("rm", "-f", layout.kernel))
    return Step(
        "kernel", "kernel", "delete", (("pinned", pin or "none", "none" if unpin else pin or "none"),), commands
    )


def _stamped(
    kind: Kind,
    subject: str,
    stamp: str,
    actual: ActualNode,
    differences: Differences,
    uploads: Sequence[str | Upload],
    content: object,
    after: Sequence[str],
) -> Step:
    """A step whose files count once tools have run: the stamp says with which files they did."""
    text = hashlib.sha256(repr(content).encode()).hexdigest() + "\n"
    mark, unfinished = file_part(actual, stamp, text)
    if unfinished and not differences:
        differences = [(subject, "written, not put into force", "in force")]
    if not differences:
        return Step(kind, subject)
    shown = (*differences, (subject, "as the node was booted", NEXT_BOOT))
    return Step(kind, subject, "configure", shown, (*uploads, *after, *(mark or [Upload(stamp, text)])))
