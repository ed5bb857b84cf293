"""All printing: results to standard output, progress and errors to standard error; data in, text out."""

from .console import as_json, confirm, recording, say
from .hubs import StatusRow, addresses, status, valid
from .live import Progress, progress
from .plans import plan
from .problems import error, unexpected
from .verification import checks

__all__ = [
    "Progress",
    "StatusRow",
    "addresses",
    "as_json",
    "checks",
    "confirm",
    "error",
    "plan",
    "progress",
    "recording",
    "say",
    "status",
    "unexpected",
    "valid",
]
