"""Every secret of a hub can be replaced while it is in use; killed anywhere, the next run finishes it."""

from .reach import Reach, of
from .run import Outcome, pending, raise_first, resume, rotate

__all__ = ["Outcome", "Reach", "of", "pending", "raise_first", "resume", "rotate"]
