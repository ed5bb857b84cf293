"""What a person asked for on the command line."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from . import paths
from .model.target import DEFAULT, Word


@dataclass(frozen=True)
class Options:
    """The options of one call; verbs use the ones they name in the CLI."""

    hub: Path = paths.DEFAULT_HUB
    target: Word = DEFAULT
    lab: str = ""
    as_json: bool = False
    yes: bool = False
    scope: Literal["api", "all"] = "all"
    full: bool = False
    no_verify: bool = False
    stock: bool = False
    allow_destroy: frozenset[str] = field(default_factory=frozenset)
    allow_move: frozenset[str] = field(default_factory=frozenset)
    with_data: bool = False
    allow_reboot: frozenset[str] = field(default_factory=frozenset)
    allow_gpu_reset: bool = False
    debug: bool = False
    only: tuple[str, ...] = ()
    kit_proof: Path | None = None
    every: bool = False
    due: bool = False
    kit: Path | None = None
    identity: Path | None = None
    out: Path | None = None
    at: str = ""
    no_backup: bool = False
    needs: tuple[str, ...] = ()
    lines: int = 100
    follow: bool = False

    def lab_name(self, hub: str) -> str:
        """The lab's name: the option, else $AIHUB_LAB, else the hub's own name."""
        return self.lab or os.environ.get("AIHUB_LAB", "") or hub
