"""What is set for the node's next boot: with each boot loader, finished when a run was killed, and taken back again."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from aihub.names import Layout
from metal import boot, cards, nics
from metal.actual import ActualNode, File
from metal.desired import Card, Desired
from metal.hardware import Device, Nic, Option, loader
from metal.refusal import RefusedByNode
from metal.steps import Step, Upload

from tests.unit.metal.metal_nodes import WANTED, converged

GIB = 1 << 30
NAMES = Layout(WANTED.hub)
UEFI = "5A7A-8E5B is configured with: uefi (versions: 6.17.2-1-pve)"
BOTH = "5A7A-8E5B is configured with: uefi (versions: 6.17.2-1-pve), grub (versions: 6.17.2-1-pve)"


def found(*ids: str) -> list[cards.Found]:
    """A card for each id, alone in its slot."""
    return [
        cards.Found(Card(f"card{n}", ident), (Device(f"0000:0{n}:00.0", "0300", ident, group=n),))
        for n, ident in enumerate(ids, 1)
    ]


def node(here: list[cards.Found], **values: str) -> ActualNode:
    actual = converged()
    actual.devices = [device for one in here for device in one.functions]
    actual.values |= {"kernel": "6.17.2-1-pve", "processor": "GenuineIntel", "grub": "yes", "boot": "1000", **values}
    actual.api["status"] = {"memory": {"total": 128 * GIB}}
    return actual


def taken(desired: Desired, actual: ActualNode, here: list[cards.Found]) -> dict[str, Step]:
    return {step.kind: step for step in boot.preparation(desired, actual, here) if step.commands}


def written(step: Step) -> dict[str, str]:
    return {one.path: one.text for one in step.commands if isinstance(one, Upload)}


def apply(actual: ActualNode, *steps: Step) -> None:
    """The files that steps leave, as the next reading finds them."""
    for path, text in [pair for step in steps for pair in written(step).items()]:
        actual.files[path] = File("644 root root", hashlib.sha256(text.encode()).hexdigest(), 2000)
        names = {"/etc/kernel/cmdline": "cmdline", NAMES.flags: "added flags", NAMES.kernel: "pinned"}
        if path in names:
            actual.values[names[path]] = text.strip()


def test_grub_gets_a_snippet_of_ours():
    here = found("10de:2504")
    step = taken(WANTED, node(here), here)["flags"]
    snippet = written(step)[NAMES.grub]
    assert 'GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT intel_iommu=on iommu=pt"' in snippet
    assert "update-grub" in step.commands
    assert step.commands[-1].path == NAMES.flags_done, "the stamp is the last"


def test_systemd_boot_gets_what_its_one_line_lacks_and_gives_back_just_that():
    here = found("10de:2504")
    actual = node(here, cmdline="root=ZFS=rpool/ROOT/pve-1 boot=zfs iommu=pt")
    actual.loaders = loader(UEFI)
    step = taken(WANTED, actual, here)["flags"]
    assert written(step)["/etc/kernel/cmdline"] == "root=ZFS=rpool/ROOT/pve-1 boot=zfs iommu=pt intel_iommu=on\n"
    assert NAMES.grub not in written(step)
    assert "proxmox-boot-tool refresh" in step.commands
    apply(actual, step)
    assert "flags" not in taken(WANTED, actual, here)
    gone = next(step for step in boot.removal(WANTED, actual) if step.kind == "flags")
    assert written(gone)["/etc/kernel/cmdline"] == "root=ZFS=rpool/ROOT/pve-1 boot=zfs iommu=pt\n"


def test_a_partition_with_both_loaders_has_both_told():
    here = found("10de:2504")
    actual = node(here, cmdline="boot=zfs")
    actual.loaders = loader(BOTH)
    assert {NAMES.grub, "/etc/kernel/cmdline"} <= set(written(taken(WANTED, actual, here)["flags"]))


def test_amd_needs_no_flag_of_intels():
    here = found("10de:2504")
    assert "intel" not in written(taken(WANTED, node(here, processor="AuthenticAMD"), here)["flags"])[NAMES.grub]


def test_a_node_whose_loader_nobody_knows_is_refused():
    here = found("10de:2504")
    actual = node(here)
    del actual.values["grub"]
    with pytest.raises(RefusedByNode, match="boot loader can't be told"):
        boot.preparation(WANTED, actual, here)


@pytest.mark.parametrize("kind", ["flags", "binding"])
def test_what_was_written_and_not_put_into_force_by_a_killed_run_is_finished(kind):
    here = found("10de:2b85")
    actual = node(here)
    apply(actual, *taken(WANTED, actual, here).values())
    assert kind not in taken(WANTED, actual, here)
    del actual.files[{"flags": NAMES.flags_done, "binding": NAMES.binding_done}[kind]]
    step = taken(WANTED, actual, here)[kind]
    assert step.differences[0][1:] == ("written, not put into force", "in force")
    assert {"update-grub", "update-initramfs -u -k all"} & set(step.commands)


def test_cards_that_survive_a_reset_have_no_kernel_pinned_and_may_sleep():
    here = found("10de:2504")
    steps = taken(WANTED, node(here), here)
    assert "kernel" not in steps
    assert "disable_idle_d3" not in written(steps["binding"])[NAMES.card_options]
    assert NAMES.card_rules not in written(steps["binding"])


def test_cards_that_do_not_stay_awake_and_keep_the_kernel():
    here = found("10de:2b85", "10de:2504")
    steps = taken(WANTED, node(here), here)
    files = written(steps["binding"])
    assert "options vfio-pci ids=10de:2504,10de:2b85 disable_vga=1 disable_idle_d3=1" in files[NAMES.card_options]
    assert 'ATTR{device}=="0x2b85"' in files[NAMES.card_rules]
    assert "2504" not in files[NAMES.card_rules]
    assert "proxmox-boot-tool kernel pin 6.17.2-1-pve" in steps["kernel"].commands


def test_a_kernel_that_somebody_else_pinned_stays_and_is_never_unpinned():
    here = found("10de:2b85")
    actual = node(here, pin="6.14.8-2-pve")
    assert "kernel" not in taken(WANTED, actual, here)
    actual.values["pinned"] = "6.17.2-1-pve"
    actual.files[NAMES.kernel] = File("644 root root", "", 2000)
    assert "kernel 6.14.8-2-pve is pinned, not 6.17.2-1-pve" in boot.notes(WANTED, actual, here)[0]
    gone = next(step for step in boot.removal(WANTED, actual) if step.kind == "kernel")
    assert not any("unpin" in str(one) for one in gone.commands)


def test_ids_of_somebody_else_are_a_conflict_unless_ours_are_among_them():
    here = found("10de:2504")
    actual = node(here)
    actual.options = [Option("/etc/modprobe.d/vfio.conf", ("vfio-pci", "ids=1002:73bf"))]
    with pytest.raises(RefusedByNode, match=r"/etc/modprobe\.d/vfio\.conf gives vfio-pci the ids 1002:73bf") as caught:
        boot.preparation(WANTED, actual, here)
    assert caught.value.kind == "conflict"
    actual.options = [Option("/etc/modprobe.d/vfio.conf", ("vfio-pci", "ids=1002:73bf,10DE:2504"))]
    assert taken(WANTED, actual, here)


@pytest.mark.parametrize(
    ("guests", "others", "limit"),
    [
        (64, None, 16 * GIB),
        (116, None, 4 * GIB),
        (64, 8 * GIB, None),  # somebody gives it less already
        (116, 16 * GIB, 4 * GIB),
    ],
)
def test_zfs_leaves_guests_their_memory(guests, others, limit):
    here = found("10de:2504")
    actual = node(here)
    actual.api["storage"][1]["type"] = "zfspool"
    if others:
        actual.options = [Option("/etc/modprobe.d/zfs.conf", ("zfs", f"zfs_arc_max={others}"))]
    wanted = replace(WANTED, memory=guests * GIB)
    files = written(taken(wanted, actual, here)["binding"])
    said = " ".join(boot.notes(wanted, actual, here))
    counts = "ours, 4 GiB, is read after it and counts" if limit else "no more than guests leave: it stays so"
    assert said == (
        f"node pve: /etc/modprobe.d/zfs.conf lets ZFS cache {others // GIB} GiB; {counts}" if others else ""
    )
    assert (f"options zfs zfs_arc_max={limit}" in files[NAMES.arc]) if limit else NAMES.arc not in files


def test_memory_that_is_not_there_is_refused():
    here = found("10de:2504")
    actual = node(here)
    actual.api["storage"][1]["type"] = "zfspool"
    with pytest.raises(RefusedByNode, match="guests have 120 GiB of it, it needs 8 GiB itself, and ZFS at least 1 GiB"):
        boot.preparation(replace(WANTED, memory=120 * GIB), actual, here)


def test_network_cards_are_pinned_to_the_names_that_they_have():
    here = found("10de:2504")
    actual = node(here)
    actual.nics = [
        Nic("enp5s0", "aa:bb:cc:00:00:01", "enp5s0"),
        Nic("eth1", "aa:bb:cc:00:00:02", "enp6s0"),  # the kernel's own kind of name
        Nic("nic0", "aa:bb:cc:00:00:03", "enp7s0"),  # somebody else has pinned it
        Nic("enp8s0", "aa:bb:cc:00:00:04", "enp8s0"),
        Nic("enp9s0", "aa:bb:cc:00:00:04", "enp9s0"),  # two of one MAC
    ]
    actual.pinned = {"aa:bb:cc:00:00:03"}
    step = taken(WANTED, actual, here)["binding"]
    links = {path: text for path, text in written(step).items() if path.endswith(".link")}
    assert list(links) == ["/etc/systemd/network/10-hub.my-hub.enp5s0.link"]
    assert "MACAddress=aa:bb:cc:00:00:01\nType=ether\n\n[Link]\nName=enp5s0\n" in links[NAMES.link("enp5s0")]
    assert "update-initramfs -u -k all" in step.commands
    apply(actual, step)
    assert "binding" not in taken(WANTED, actual, here)
    gone = next(step for step in boot.removal(WANTED, actual) if step.kind == "binding")
    assert NAMES.link("enp5s0") in str(gone.commands[0])


def test_a_name_that_a_card_would_lose_stays_pinned_and_is_said():
    actual = node([])
    actual.files[NAMES.link("enp5s0")] = File("644 root root", "", 2000)
    actual.nics = [Nic("enp5s0", "aa:bb:cc:00:00:01", "enp6s0")]  # the bus was numbered anew meanwhile
    assert boot.removal(WANTED, actual) == []
    (text,) = nics.kept(WANTED, actual)
    assert "network card enp5s0 would be called enp6s0" in text
    actual.nics = []
    assert NAMES.link("enp5s0") in str(boot.removal(WANTED, actual)[0].commands[0])


def test_everything_that_was_set_goes_and_nothing_is_left_to_do():
    here = found("10de:2b85")
    actual = node(here)
    apply(actual, *taken(WANTED, actual, here).values())
    actual.values["pin"] = actual.values["pinned"]
    gone = {step.kind: step for step in boot.removal(WANTED, actual)}
    assert set(gone) == {"flags", "binding", "kernel"}
    assert "proxmox-boot-tool kernel unpin" in gone["kernel"].commands
    removed = " ".join(str(one) for step in gone.values() for one in step.commands)
    assert [path for path in NAMES.cards if path in actual.files and path not in removed] == []
    assert boot.removal(WANTED, converged()) == []
