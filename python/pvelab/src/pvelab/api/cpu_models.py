"""CPU models and the CPU flags that a virtual machine may set, and the check of `cpu`."""

from __future__ import annotations

import re
from typing import Any

from .errors import refuse_if
from .tables import table, words


def check(fields: dict[str, Any]) -> None:
    """Raises unless the model exists and only known flags are set."""
    model = str(fields.get("cputype", "0"))
    refuse_if(model == "0", ValueError("CPU is missing cputype"))
    if model.startswith("custom-"):
        raise ValueError(f"Custom cputype '{model[7:]}' not found")
    if model not in words("cpu models"):
        raise ValueError(f"Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)")
    names = table("cpu flags").split()
    for flag in str(fields["flags"]).split(";") if fields.get("flags") else ():
        if not re.match(r"[+-]", flag) or flag[1:] not in names:
            raise ValueError(f"VM-specific CPU flags must be a subset of: {', '.join(names)}")
    if fields.get("reported-model") is not None:
        raise ValueError("Property 'reported-model' not allowed in VM-specific CPU config.")
