"""What goes wrong in the lab's world, said to the person who ran `pvelab`."""

from __future__ import annotations


class LabError(Exception):
    """What happened, where, and what to do next."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what}\n  next: {self.hint}" if self.hint else self.what
