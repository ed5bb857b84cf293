"""Why metal will not touch a node; told to the controller by exit code and JSON."""

from __future__ import annotations

from typing import Literal

EXIT = {"precondition": 4, "conflict": 6}


class Refused(Exception):
    """The node is not in a state that metal may change."""

    def __init__(self, kind: Literal["precondition", "conflict"], what: str, hint: str = "") -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.hint = hint

    def as_json(self) -> dict[str, dict[str, str]]:
        """What the controller reads instead of a plan."""
        return {"refused": {"kind": self.kind, "what": self.what, "hint": self.hint}}


last: list[Refused] = []  # pyinfra turns every exception of a deploy into its own text: kept here for the exit
