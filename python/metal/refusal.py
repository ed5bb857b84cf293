"""Why metal will not touch a node."""

from __future__ import annotations

from typing import Literal


class RefusedByNode(Exception):
    """The node is not in a state that metal may change."""

    def __init__(self, kind: Literal["precondition", "conflict"], what: str, hint: str = "") -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.hint = hint
