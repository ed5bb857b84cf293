"""What guests are given, rendered from the hub: Ansible's inventory and each instance's files."""

from __future__ import annotations

from .sources import flavour_of, masked, packages
from .stacks import secret_files, stack_files
from .variables import LAB_CA, PACKAGE_HOSTS, desired, hostvars, inventory

__all__ = [
    "LAB_CA",
    "PACKAGE_HOSTS",
    "desired",
    "flavour_of",
    "hostvars",
    "inventory",
    "masked",
    "packages",
    "secret_files",
    "stack_files",
]
