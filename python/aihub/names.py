"""Every derived name that two sides must spell alike. Pure, standard library only: metal imports it too.

`hub` is the hub's name, `hub_id` its id, `stack` the name of a stack, `guest` that of a guest.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

# Whose an object in Proxmox is.

TAG = "aihub"
"""The tag of every guest of ours; a sign, while the marker is the proof."""


def marker(hub_id: str) -> str:
    """The text by which an object of the node is known as this hub's."""
    return f"aihub:v1 hub={hub_id}"


@dataclass(frozen=True)
class Marker:
    """The line of a guest's description that says whose it is, and which one, by its id."""

    hub: str
    vmid: int
    guest: str

    def __str__(self) -> str:
        return f"{marker(self.hub)} vmid={self.vmid} guest={self.guest}"

    @classmethod
    def find(cls, description: str) -> Marker | None:
        """The marker of a description; None when there is none, or more than one."""
        found = [m for line in description.splitlines() if (m := _MARKER.match(line.strip()))]
        return cls(found[0][1], int(found[0][2]), found[0][3]) if len(found) == 1 else None


def image_line(image: str) -> str:
    """The line of a guest's description that says which OS image it was made from."""
    return f"aihub:image {image}"


def image_of(description: str) -> str:
    """The image of that line; empty where there is none."""
    return next((found[1] for line in description.splitlines() if (found := _IMAGE.match(line.strip()))), "")


_IMAGE = re.compile(rf"^{image_line('([a-z0-9.-]{1,40})')}$")
_MARKER = re.compile(rf"^{marker('([0-9a-f]{16})')} vmid=([0-9]+) guest=([a-z0-9-]+)$")

# In Proxmox.

TOKEN_ID = "hub"  # noqa: S105  (its name, not its value)


def pool(hub: str) -> str:
    """The resource pool of the hub's guests."""
    return f"hub-{hub}"


def user(hub: str) -> str:
    """The Proxmox user of the hub: one per hub, so that two hubs on a node share no rights."""
    return f"hub-{hub}@pve"


def token(hub: str) -> str:
    """The API token's full name."""
    return f"{user(hub)}!{TOKEN_ID}"


def user_path(hub: str) -> str:
    """The user's place in the API."""
    return f"/access/users/{user(hub)}"


def token_path(hub: str) -> str:
    """The token's place in the API."""
    return f"{user_path(hub)}/token/{TOKEN_ID}"


def token_comment(hub_id: str, kept: str) -> str:
    """The token's comment: whose it is, and which of its values was kept."""
    return f"{marker(hub_id)} value={kept}"


# In the network.

NOT_PUBLIC = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",  # carriers' and overlay networks
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",  # many at once, and what nobody has
)
"""Where no host of the internet is: what a zone with internet does not reach, and where the way out leads nobody."""


def is_public(address: str) -> bool:
    """Whether an IPv4 address may be that of a host of the internet."""
    return not any(ip_address(address) in ip_network(special) for special in NOT_PUBLIC)


# On the node.

NODE_FOLDER = "/etc/hub-node"
SNIPPETS_STORAGE, SNIPPETS = "local", "/var/lib/vz/snippets/"
"""The storage of every Proxmox on which hook scripts may lie, and where that is."""
NODE_KEYS = "/root/.ssh/authorized_keys2"  # PVE links authorized_keys into its cluster file system: not ours to edit


def lease(hub_id: str) -> str:
    """The file that holds off other machines."""
    return f"/run/aihub-{hub_id}.lease"


def table(hub: str) -> str:
    """The nft table of the walls; nft takes no hyphen everywhere."""
    return f"hub_{hub.replace('-', '_')}"


def guard(hub: str) -> str:
    """The hook script that refuses to start a guest whose card is dead."""
    return f"hub-{hub}-gpu-guard"


def guard_volume(hub: str) -> str:
    """It as a guest's configuration names it."""
    return f"{SNIPPETS_STORAGE}:{SNIPPETS.rstrip('/').rpartition('/')[2]}/{guard(hub)}"


CARD_NODES = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
"""By what a container reaches the card that its node's NVIDIA driver has; of several cards it would be the first."""


@dataclass(frozen=True)
class Layout:
    """The files and units of one hub on the node."""

    hub: str

    @property
    def folder(self) -> str:
        return f"{NODE_FOLDER}/{self.hub}"

    @property
    def walls(self) -> str:
        return f"{self.folder}/walls.nft"

    @property
    def walls_unit(self) -> str:
        return f"hub-walls-{self.hub}.service"

    @property
    def bridge_rules(self) -> str:
        return f"/etc/udev/rules.d/80-hub-{self.hub}.rules"

    @property
    def dns(self) -> str:
        return f"/etc/unbound/hub-{self.hub}.conf"  # Debian's AppArmor profile lets unbound read only here

    @property
    def dns_unit(self) -> str:
        return f"hub-dns-{self.hub}.service"

    @property
    def unseal(self) -> str:
        return f"{self.folder}/unseal"

    @property
    def unseal_unit(self) -> str:
        return f"hub-unseal-{self.hub}.service"

    @property
    def authority(self) -> str:
        return f"{self.folder}/ca.pem"

    @property
    def shares(self) -> str:
        return f"{self.folder}/unseal.cred"  # sealed by systemd-creds; written by the controller

    @property
    def chrony(self) -> str:
        return f"/etc/chrony/conf.d/hub-{self.hub}.conf"

    @property
    def chrony_override(self) -> str:
        return f"/etc/systemd/system/chrony.service.d/hub-{self.hub}.conf"

    @property
    def sysctl(self) -> str:
        return f"/etc/sysctl.d/80-hub-{self.hub}.conf"

    @property
    def limits(self) -> str:
        # Before everything that others have there (Proxmox's own is 10-pve-...): the last one that is read wins.
        return f"/etc/sysctl.d/10-hub-{self.hub}.conf"

    @property
    def repositories(self) -> str:
        return f"/etc/apt/sources.list.d/hub-{self.hub}.sources"

    @property
    def aside(self) -> str:
        return f".hub-{self.hub}.disabled"  # behind the name of a file that apt is to pass over, unsaid

    @property
    def binding(self) -> tuple[str, ...]:
        """What makes vfio-pci take the cards at boot, and keeps memory for their guests: in the initramfs, too."""
        return (self.card_modules, self.card_options, self.card_rules, self.arc)

    @property
    def card_modules(self) -> str:
        return f"/etc/modules-load.d/hub-cards-{self.hub}.conf"

    @property
    def card_options(self) -> str:
        return f"/etc/modprobe.d/hub-cards-{self.hub}.conf"

    @property
    def card_rules(self) -> str:
        return f"/etc/udev/rules.d/81-hub-cards-{self.hub}.rules"

    def link(self, name: str) -> str:
        """What keeps the name of a network card; `*` stands for all. No hub's name has a dot in it."""
        return f"/etc/systemd/network/10-hub.{self.hub}.{name}.link"

    @property
    def arc(self) -> str:
        return f"/etc/modprobe.d/zz-hub-zfs-{self.hub}.conf"  # after what others say there: the last one wins

    @property
    def grub(self) -> str:
        return f"/etc/default/grub.d/hub-cards-{self.hub}.cfg"

    @property
    def flags(self) -> str:
        return f"{self.folder}/flags"  # what was added to the one line of systemd-boot

    @property
    def flags_done(self) -> str:
        return f"{self.folder}/flags.done"  # which flags the boot loader was told

    @property
    def binding_done(self) -> str:
        return f"{self.folder}/binding.done"  # which files the initramfs was made with

    @property
    def kernel(self) -> str:
        return f"{self.folder}/kernel"  # which one was pinned

    @property
    def guard(self) -> str:
        return SNIPPETS + guard(self.hub)  # run by Proxmox before each start of a guest with a card

    @property
    def snippets(self) -> str:
        return f"{self.folder}/snippets"  # that the storage holds snippets since we asked for it

    @property
    def driver_source(self) -> str:
        return f"/etc/apt/sources.list.d/hub-{self.hub}.nvidia.sources"

    @property
    def driver_key(self) -> str:
        return f"/etc/apt/keyrings/hub-{self.hub}.nvidia.asc"

    @property
    def driver_pin(self) -> str:
        return f"/etc/apt/preferences.d/hub-{self.hub}.nvidia.pref"

    @property
    def driver_options(self) -> str:
        return f"/etc/modprobe.d/hub-nvidia-{self.hub}.conf"

    @property
    def driver_unit(self) -> str:
        return f"hub-driver-{self.hub}.service"

    @property
    def driver_packages(self) -> str:
        return f"{self.folder}/driver.packages"  # those that the node had not before

    @property
    def driver_done(self) -> str:
        return f"{self.folder}/driver.done"  # with which options the initramfs was made

    @property
    def driver(self) -> tuple[str, ...]:
        """What keeps the node's own driver of a card that containers share; the record of its packages last."""
        sources = (self.driver_source, self.driver_key, self.driver_pin)
        return (*sources, self.driver_options, unit_file(self.driver_unit), self.driver_done, self.driver_packages)

    @property
    def cards(self) -> tuple[str, ...]:
        """Everything that is there for cards alone."""
        boot = (*self.binding, self.binding_done, self.grub, self.flags, self.flags_done, self.kernel)
        return (*boot, self.guard, self.snippets, *self.driver)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file that metal looks at."""
        units = tuple(unit_file(unit) for unit in (self.walls_unit, self.dns_unit, self.unseal_unit))
        secrets = (self.unseal, self.authority, self.shares)
        return (
            self.walls,
            self.bridge_rules,
            self.dns,
            self.chrony,
            self.chrony_override,
            self.sysctl,
            self.limits,
            self.repositories,
            *secrets,
            *units,
            *self.cards,
        )

    @property
    def units(self) -> tuple[str, ...]:
        """Every unit that metal starts."""
        return (self.walls_unit, self.dns_unit, self.unseal_unit, "chrony.service", self.driver_unit)


def unit_file(unit: str) -> str:
    """Where a systemd unit of ours lies, on the node and on guests."""
    return f"/etc/systemd/system/{unit}"


# On a guest. Roles, compose files and the programs that run there (`on_guest.py`) spell these out themselves.


INSIDE = "127.0.0.1"
"""Where what answers HTTP is published: the guest's door alone is in the network."""
DOOR_UNIT = "hub-door.service"
"""What answers HTTPS for the instances of a guest."""
DOOR_FOLDER = "/run/hub-door"
"""What it has in memory: among it a copy of the machine's certificate and key, which is root's."""


def unit(stack: str) -> str:
    """The systemd unit of an instance."""
    return f"hub-{stack}.service"


def home(stack: str) -> str:
    """The folder of an instance's Compose project."""
    return f"/opt/hub/{stack}"


def network(name: str) -> str:
    """What Docker calls a network of an instance."""
    return f"hub-{name}"


def bridge(name: str) -> str:
    """The bridge of that network, by which the guest's firewall knows it; at most 15 characters, as Linux takes."""
    return f"br-{name}" if len(name) <= 12 else f"br-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def data(stack: str) -> str:
    """The folder of an instance's volumes."""
    return f"/var/lib/hub/{stack}"


def logrotate(stack: str) -> str:
    """How the logs of an instance are cut."""
    return f"/etc/logrotate.d/hub-{stack}"


def secret_folder(stack: str) -> str:
    """The folder of an instance's secrets, in memory."""
    return f"/run/hub/{stack}"


def approle(guest: str) -> str:
    """The login of a guest's agent at the store, by the guest's id."""
    return f"hub-{guest}"
