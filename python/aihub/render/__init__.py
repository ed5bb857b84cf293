"""What guests are given, rendered from the hub: Ansible's inventory and each instance's files."""

from __future__ import annotations

from .sources import flavour_of, masked, packages
from .stacks import allowed_file, secret_files, stack_files
from .variables import LAB_CA, desired, hostvars, inventory

__all__ = [
    "LAB_CA",
    "allowed_file",
    "desired",
    "flavour_of",
    "hostvars",
    "inventory",
    "masked",
    "packages",
    "secret_files",
    "stack_files",
]
