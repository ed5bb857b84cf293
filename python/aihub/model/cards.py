"""What is known of cards by their ids: a table, and where it was read."""

from __future__ import annotations

from collections.abc import Mapping

BAD_RESET: Mapping[str, str] = {
    "10de:2b85": "GeForce RTX 5090",
    "10de:2b87": "GeForce RTX 5090 D",
    "10de:2bb1": "RTX PRO 6000 Blackwell",
}
"""Cards that don't come back from every reset, which Proxmox does whenever a machine with one stops or starts.

They then read as ones only until the node is rebooted. Reports: forum.proxmox.com thread 168424, forums.developer
.nvidia.com topic 339038, github.com/NVIDIA/open-gpu-kernel-modules issue 853; ids: issue 862 there.
"""
