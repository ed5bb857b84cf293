"""By what factor a lab's guests are smaller than they declare, and whether this machine can carry that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from .errors import LabError

# What the machine needs beside the guests: builder, node, page cache of the package builds.
RESERVE = 2 * 1024**3
GIB = 1024**3


@dataclass(frozen=True)
class Scale:
    """The factor and the reason for it."""

    factor: float
    why: str

    def as_json(self) -> dict[str, object]:
        """For `pvelab status`."""
        return {"factor": self.factor, "why": self.why}


def machine_memory() -> int:
    """This machine's memory in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise LabError("/proc/meminfo names no MemTotal")


def decide(declared: int, wanted: float | None, memory: int, least: int = 0) -> Scale:
    """The factor for a node that declares this much memory; raises LabError when the wanted one is too small, or the
    guests need more, `least` bytes together, than there is.
    """
    usable = memory - RESERVE
    if usable <= 0:
        raise LabError(f"this machine has {memory / GIB:.1f} GiB of memory; a lab needs more than {RESERVE // GIB} GiB")
    if least > usable:
        raise LabError(
            f"the guests need {least / GIB:.1f} GiB at least, this machine has {memory / GIB:.1f} GiB and keeps "
            f"{RESERVE // GIB} GiB for itself",
            hint=f"a machine with {(least + RESERVE) / GIB:.0f} GiB, or less on them",
        )
    least = max(1, math.ceil(declared / usable))
    if wanted is not None and wanted < least:
        raise LabError(
            f"scale {wanted:g} would give the lab {declared / wanted / GIB:.1f} GiB, this machine has "
            f"{memory / GIB:.1f} GiB",
            hint=f"use scale {least} or more, or a machine with {(declared / wanted + RESERVE) / GIB:.0f} GiB",
        )
    factor = wanted if wanted is not None else float(least)
    why = (
        f"the node declares {declared / GIB:.0f} GiB, this machine has {memory / GIB:.0f} GiB: guests get 1/{factor:g} "
        "of their memory (not below 512 MiB, nor below what they need) and of their cores (not below one)"
    )
    return Scale(factor, why)
