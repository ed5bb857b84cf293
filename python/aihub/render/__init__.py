"""What guests are given, rendered from the hub: Ansible's inventory and each instance's files."""

from __future__ import annotations

from .parts import RESTARTING, images
from .sources import driver, flavour_of, hosts, masked, packages
from .stacks import allowed_file, secret_files, stack_files
from .variables import LAB_CA, desired, hostvars, inventory, made_from

__all__ = [
    "LAB_CA",
    "RESTARTING",
    "allowed_file",
    "desired",
    "driver",
    "flavour_of",
    "hosts",
    "hostvars",
    "images",
    "inventory",
    "made_from",
    "masked",
    "packages",
    "secret_files",
    "stack_files",
]
