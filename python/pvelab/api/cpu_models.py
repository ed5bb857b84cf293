"""CPU models and the CPU flags that a virtual machine may set, and the check of `cpu`."""

from __future__ import annotations

import re
from typing import Any

from .errors import refuse_if

MODELS = """
486 Broadwell Broadwell-IBRS Broadwell-noTSX Broadwell-noTSX-IBRS Cascadelake-Server
Cascadelake-Server-noTSX Cascadelake-Server-v2 Cascadelake-Server-v4 Cascadelake-Server-v5
ClearwaterForest Conroe Cooperlake Cooperlake-v2 EPYC EPYC-Genoa EPYC-Genoa-v2 EPYC-IBPB EPYC-Milan
EPYC-Milan-v2 EPYC-Milan-v3 EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Rome-v5 EPYC-Turin
EPYC-v3 EPYC-v4 EPYC-v5 GraniteRapids GraniteRapids-v2 GraniteRapids-v3 Haswell Haswell-IBRS
Haswell-noTSX Haswell-noTSX-IBRS Icelake-Client Icelake-Client-noTSX Icelake-Server
Icelake-Server-noTSX Icelake-Server-v3 Icelake-Server-v4 Icelake-Server-v5 Icelake-Server-v6
Icelake-Server-v7 IvyBridge IvyBridge-IBRS KnightsMill Nehalem Nehalem-IBRS Opteron_G1 Opteron_G2
Opteron_G3 Opteron_G4 Opteron_G5 Penryn SandyBridge SandyBridge-IBRS SapphireRapids
SapphireRapids-v2 SapphireRapids-v3 SapphireRapids-v4 SierraForest SierraForest-v2 SierraForest-v3
Skylake-Client Skylake-Client-IBRS Skylake-Client-noTSX-IBRS Skylake-Client-v4 Skylake-Server
Skylake-Server-IBRS Skylake-Server-noTSX-IBRS Skylake-Server-v4 Skylake-Server-v5 Westmere
Westmere-IBRS athlon core2duo coreduo host kvm32 kvm64 max pentium pentium2 pentium3 phenom qemu32
qemu64 x86-64-v2 x86-64-v2-AES x86-64-v3 x86-64-v4
"""
FLAGS = """
aes amd-no-ssb amd-ssbd hv-evmcs hv-tlbflush ibpb md-clear nested-virt pcid pdpe1gb spec-ctrl ssbd
virt-ssbd
"""


def check(fields: dict[str, Any]) -> None:
    """Raises unless the model exists and only known flags are set."""
    model = str(fields.get("cputype", "0"))
    refuse_if(model == "0", ValueError("CPU is missing cputype"))
    if model.startswith("custom-"):
        raise ValueError(f"Custom cputype '{model[7:]}' not found")
    if model not in MODELS.split():
        raise ValueError(f"Built-in cputype '{model}' is not defined (missing 'custom-' prefix?)")
    names = FLAGS.split()
    for flag in str(fields["flags"]).split(";") if fields.get("flags") else ():
        if not re.match(r"[+-]", flag) or flag[1:] not in names:
            raise ValueError(f"VM-specific CPU flags must be a subset of: {', '.join(names)}")
    if fields.get("reported-model") is not None:
        raise ValueError("Property 'reported-model' not allowed in VM-specific CPU config.")
