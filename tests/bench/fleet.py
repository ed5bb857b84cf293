"""A hub file with any number of guests, for what must not grow out of hand."""

from __future__ import annotations

from ipaddress import IPv4Network

ID = "0f1e2d3c4b5a6978"
ZONES = {"infra": "10.16.0.0/20", "private": "10.32.0.0/20", "public": "10.48.0.0/20"}
STORAGE = "local"
BRIDGES = tuple(f"hub{zone}" for zone in ZONES)
FIRST = 1000  # the first guest's VMID


def text(guests: int, node: str = "192.168.1.10") -> str:
    """hub.yml: containers and, every fourth one, a VM, dealt out to three zones."""
    hosts = {zone: list(IPv4Network(subnet).hosts()) for zone, subnet in ZONES.items()}
    lines = [
        f'hub: {{name: fleet, domain: fleet.home.arpa, id: "{ID}"}}',
        f"operator: {{ssh_keys: [{KEY}]}}",
        "nodes:",
        "  pve:",
        f"    address: {node}",
        f"    storage: {{fast: {{use: {STORAGE}}}}}",
        f"    lab: {{cores: 64, memory: {guests + 64}GiB}}",
        "zones:",
        *(f"  {zone}: {{subnet: {subnet}, internet: outbound}}" for zone, subnet in ZONES.items()),
        "guests:",
    ]
    for number in range(guests):
        zone = list(ZONES)[number % len(ZONES)]
        kind = "vm" if number % 4 == 3 else "lxc"
        place = f"vmid: {FIRST + number}, kind: {kind}, zone: {zone}, address: {hosts[zone][10 + number // len(ZONES)]}"
        lines.append(f"  guest-{number:04}: {{{place}, cores: 2, memory: 1GiB, disk: 8GiB}}")
    return "\n".join(lines) + "\n"


KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA bench"
