"""All printing: results to standard output, progress and errors to standard error; data in, text out."""

from collections.abc import Callable

from .console import as_json, ask, ask_secret, confirm, say
from .copies import copies, copies_as_json
from .hubs import StatusRow, addresses, status, valid
from .live import Progress, progress
from .models import SERVED, ModelRow, SpeedRow, models, speeds
from .plans import kept, outcome, plan, undeclared
from .problems import error, unexpected
from .secrets import SecretRow, replaced, secrets, to_replace
from .verification import checks

Say = Callable[[str], None]

__all__ = [
    "SERVED",
    "ModelRow",
    "Progress",
    "Say",
    "SecretRow",
    "SpeedRow",
    "StatusRow",
    "addresses",
    "as_json",
    "ask",
    "ask_secret",
    "checks",
    "confirm",
    "copies",
    "copies_as_json",
    "error",
    "kept",
    "models",
    "outcome",
    "plan",
    "progress",
    "replaced",
    "say",
    "secrets",
    "speeds",
    "status",
    "to_replace",
    "undeclared",
    "unexpected",
    "valid",
]
