"""The node as a machine: a privileged system container that shares the lab's network namespace."""

from __future__ import annotations

from functools import partial
from importlib.resources import files
from pathlib import Path

from . import cards, hostlimits, identity, namespace, rootfs
from .errors import LabError
from .lab import Config, Lab
from .lxc import Lxc, Machine
from .process import run, say, wait_for
from .root import Root
from .rootfs import Recipe

NAME = "node"
PACKAGES = (
    "openssh-server", "python3", "nftables", "chrony", "unbound", "dns-root-data", "iproute2", "procps", "curl",
)  # fmt: skip

# Without CAP_SYS_TIME Debian's unit would be skipped; -x serves the host's clock without setting it.
_CHRONY = "# The lab's node must not set the host's clock: -x\nDAEMON_OPTS=\"-F 1 -x\"\n"
_CHRONY_UNIT = "[Unit]\nConditionCapability=\n"
_SSHD = "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\n"
_GRUB = '# The lab\'s node is a container: no boot loader starts it.\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\n'
_BOOT_TOOLS = ("update-grub", "update-initramfs", "proxmox-boot-tool", "lab-boot")
_BOOT_UNIT = """[Unit]
Description=What this lab's node was booted with
DefaultDependencies=no
After=local-fs.target
Before=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/lab-boot
"""
_MOTD = "This is the node of a lab: a container. Its guests are real, its Proxmox VE API is emulated.\n"


def recipe() -> Recipe:
    """The node's root file system. Nothing in it runs a container engine: that would make its own bridges."""
    return Recipe(
        suite="trixie",
        packages=PACKAGES,
        files={
            "etc/default/chrony": _CHRONY,
            "etc/systemd/system/chrony.service.d/lab.conf": _CHRONY_UNIT,
            "etc/ssh/sshd_config.d/00-lab.conf": _SSHD,
            "etc/motd": _MOTD,
        },
        # The node has the addresses that the lab gives it; nothing in the container may take them away.
        commands=("systemctl mask systemd-networkd.service systemd-networkd.socket",),
    )


def containers(lab: Lab) -> Lxc:
    """The lab's containers, for a caller outside the lab's namespaces."""
    return Lxc(lab, partial(namespace.inside, lab))


def root(lab: Lab) -> Root:
    """The node's root file system."""
    return Root(lab.rootfs(NAME))


def prepare(lab: Lab, config: Config, resolver: str) -> None:
    """Makes the node's root file system if it is missing, and writes what this lab's settings say."""
    target = lab.rootfs(NAME)
    if not target.is_dir():
        archive = rootfs.bake(lab, recipe(), "node's root file system").archive
        part = target.with_name("rootfs.new")
        rootfs.remove(part)
        part.parent.mkdir(parents=True, exist_ok=True)
        rootfs.unpack(archive, part, shifted=False)
        identity.make_host_keys(Root(part), f"root@{config.node_name}")
        part.rename(target)
    here = root(lab)
    identity.set_machine_id(here)
    identity.set_hostname(here, config.node_name, config.node_address, "")
    identity.set_resolver(here, [resolver], [])
    if config.root_key:
        identity.authorise(here, "root", [config.root_key])
    programs = files("pvelab.world")
    here.write("usr/bin/pvesh", programs.joinpath("pvesh.py").read_text(), 0o755)
    here.write("usr/bin/lspci", programs.joinpath("lspci.py").read_text(), 0o755)
    for name in _BOOT_TOOLS:
        here.write(f"usr/sbin/{name}", programs.joinpath("boot_tools.py").read_text(), 0o755)
    here.write("etc/systemd/system/lab-boot.service", _BOOT_UNIT)
    here.link("etc/systemd/system/sysinit.target.wants/lab-boot.service", "../lab-boot.service")
    if not here.read("etc/default/grub"):
        here.write("etc/default/grub", _GRUB)


def trust_api(lab: Lab, config: Config, certificate: Path, password: Path) -> None:
    """Gives the node's `pvesh` the API's certificate and the login of root@pam, readable by its root only."""
    here = root(lab)
    here.folder("etc/pve/priv", 0o700)
    here.write("etc/pve/priv/lab-root-password", password.read_text(), 0o600)
    here.write(f"etc/pve/nodes/{config.node_name}/pve-ssl.pem", certificate.read_text(), 0o640)
    here.link("etc/pve/local", f"nodes/{config.node_name}")


def start(lab: Lab, config: Config) -> None:
    """Starts the node unless it runs, and waits until its sshd answers."""
    lxc = containers(lab)
    if lxc.pid(NAME) is None:
        cards.prepare_node(lab)
        mounts = [*hostlimits.mounts(), _snippets(lab), *cards.node_mounts(lab)]
        machine = Machine(NAME, lab.seen_rootfs(NAME), config.node_name, links=None, mounts=mounts)
        lxc.write(machine)
        lxc.start(NAME)
    if not wait_for(lambda: answers(lab, config.node_address, 22), 60, 0.2):
        raise LabError("the node's sshd does not answer within 60 s", hint=f"see {lab.log('lxc-node')}")
    say("node", f"answers ssh at {config.node_address}")


def _snippets(lab: Lab) -> str:
    """The node's files of hook scripts are those of the API's storage `local`: an entry of lxc's configuration."""
    folder = lab.api / "storage" / "local" / "snippets"
    folder.mkdir(parents=True, exist_ok=True)
    return f"{folder} var/lib/vz/snippets none bind,create=dir 0 0"


def answers(lab: Lab, address: str, port: int) -> bool:
    """True when a TCP port of the lab greets or accepts."""
    argv = ["nc", "-z", "-w", "1", address, str(port)]
    return run(namespace.plain(lab, argv), check=False, timeout=10).returncode == 0
