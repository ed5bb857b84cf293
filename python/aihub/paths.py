"""Where the files of the project lie."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STACKS = ROOT / os.environ.get("AIHUB_STACKS", "stacks")  # a folder of stacks elsewhere: what a test rehearses with
DEFAULT_HUB = ROOT / "inventory" / "hub.yml"
