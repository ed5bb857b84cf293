"""The Proxmox host itself: first contact, what metal makes of it, the API token, the shares it keeps."""

from .desired import desired
from .metal import Applied, Look, apply, grant, look, plan, removal, remove
from .shares import seal_shares
from .trust import trust_lab

__all__ = [
    "Applied", "Look", "apply", "desired", "grant", "look", "plan", "removal", "remove", "seal_shares", "trust_lab",
]  # fmt: skip
