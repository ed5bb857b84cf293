"""rotation_driver.py for the world of kinds_world.py."""

from __future__ import annotations

import json
import sys

from aihub.services import service as services

from tests.vault import kinds_world, local_vault, rotation_driver

if __name__ == "__main__":
    services.STACKS = kinds_world.STACKS
    facts = kinds_world.Facts(**json.loads(sys.argv[1]))
    rotation_driver.serve(facts, local_vault.small_hub("kinds.yml"), kinds_world.reach)
