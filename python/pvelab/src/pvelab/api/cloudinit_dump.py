"""The cloud-init files that PVE generates from a machine's configuration."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import unquote

from .digests import digest
from .guestconf import Values
from .qemu_config import parse_net
from .qemu_hotplug import windows

Dns = tuple[list[str], list[str]]  # search domains, name servers


def style(values: Values) -> str:
    """nocloud, configdrive2 or opennebula."""
    return values.get("citype") or ("configdrive2" if windows(values.get("ostype")) else "nocloud")


def dump(values: Values, vmid: int, kind: str, node_dns: Dns, mask: bool) -> str:
    """One of the files: user, network or meta."""
    dns = _dns(values, node_dns)
    if kind == "user":
        return user_data(values, vmid, mask)
    network = nocloud_network(values, dns) if style(values) == "nocloud" else drive_network(values, dns)
    if kind == "network":
        return network
    known = digest(user_data(values, vmid, False) + network)
    if style(values) == "nocloud":
        return f"instance-id: {known}\n"
    path = '     "network_config": { "content_path": "/content/0000" }'
    return "\n".join(["{", f'     "uuid": "{known}",', path, "}", ""])


def _dns(values: Values, node: Dns) -> Dns:
    search = values["searchdomain"].split() if "searchdomain" in values else node[0]
    return search, values["nameserver"].split() if "nameserver" in values else node[1]


def user_data(values: Values, vmid: int, mask: bool) -> str:
    """The user data: names, account, keys."""
    name = values.get("name", f"VM{vmid}")
    host, dot, _ = name.partition(".")
    search = values.get("searchdomain")
    fqdn = name if dot or not search else f"{name}.{search}"
    user = values.get("ciuser")
    lines = ["#cloud-config", f"hostname: {host}", "manage_etc_hosts: true", f"fqdn: {fqdn}"]
    if user is not None:
        lines.append(f"user: {user}")
    if user == "root":
        lines.append("disable_root: False")
    if "cipassword" in values:
        lines.append(f"password: {'*' * 10 if mask else values['cipassword']}")
    if "sshkeys" in values:
        keys = [line for line in unquote(values["sshkeys"]).split("\n") if line.strip()]
        lines += ["ssh_authorized_keys:", *(f"  - {key}" for key in keys)]
    lines += ["chpasswd:", "  expire: False"]
    if user != "root":
        lines += ["users:", "  - default"]
    if values.get("ciupgrade", "1") != "0":
        lines.append("package_upgrade: true")
    return "\n".join([*lines, ""])


def _cards(values: Values) -> list[tuple[str, str, dict[str, str]]]:
    """Number, address and ipconfig of every network card that has one."""
    found = []
    for key in sorted(k for k in values if re.fullmatch(r"net\d+", k)):
        text = values.get(f"ipconfig{key[3:]}")
        if text:
            fields = dict(part.partition("=")[::2] for part in text.split(","))
            found.append((key[3:], str(parse_net(values[key]).get("macaddr", "")).lower(), fields))
    return found


def _mask(cidr: str) -> tuple[str, str]:
    address, _, length = cidr.partition("/")
    return address, str(ipaddress.IPv4Network(f"0.0.0.0/{length}").netmask)


def nocloud_network(values: Values, dns: Dns) -> str:
    """The network configuration, version 1."""
    lines = ["version: 1", "config:"]
    for number, mac, fields in _cards(values):
        lines += ["    - type: physical", f"      name: eth{number}", f"      mac_address: '{mac}'", "      subnets:"]
        lines += _subnet4(fields) + _subnet6(fields)
    lines.append("    - type: nameserver")
    for title, items in (("address", dns[1]), ("search", dns[0])):
        if items:
            lines += [f"      {title}:", *(f"      - '{item}'" for item in items)]
    return "\n".join([*lines, ""])


def _subnet4(fields: dict[str, str]) -> list[str]:
    ip = fields.get("ip")
    if ip is None or ip == "dhcp":
        return ["      - type: dhcp4"] if ip else []
    address, mask = _mask(ip)
    lines = ["      - type: static", f"        address: '{address}'", f"        netmask: '{mask}'"]
    return lines + ([f"        gateway: '{fields['gw']}'"] if "gw" in fields else [])


def _subnet6(fields: dict[str, str]) -> list[str]:
    ip = fields.get("ip6")
    if ip is None or ip in ("dhcp", "auto"):
        return [f"      - type: {'dhcp6' if ip == 'dhcp' else 'ipv6_slaac'}"] if ip else []
    lines = ["      - type: static6", f"        address: '{ip}'"]
    return lines + ([f"        gateway: '{fields['gw6']}'"] if "gw6" in fields else [])


def drive_network(values: Values, dns: Dns) -> str:
    """The network configuration as /etc/network/interfaces has it."""
    lines = ["auto lo", "iface lo inet loopback", ""]
    for title, items in (("dns_nameservers", dns[1]), ("dns_search", dns[0])):
        if items:
            lines.append(f"        {title} {' '.join(items)}")
    for number, _, fields in _cards(values):
        lines += [f"auto eth{number}", *_stanza(f"iface eth{number} inet", fields.get("ip"), fields.get("gw"))]
        lines += _stanza(f"iface eth{number} inet6", fields.get("ip6"), fields.get("gw6"))
    return "\n".join([*lines, ""])


def _stanza(head: str, cidr: str | None, gateway: str | None) -> list[str]:
    if not cidr or cidr in ("dhcp", "auto"):
        return [f"{head} {cidr}"] if cidr else []
    address, mask = cidr.partition("/")[::2] if head.endswith("inet6") else _mask(cidr)
    lines = [f"{head} static", f"        address {address}", f"        netmask {mask}"]
    return lines + ([f"        gateway {gateway}"] if gateway else [])
