"""Many independent trials, done by a few labs side by side as soon as the first is asked for.

Where several workers of pytest share the tests, no worker knows which are its own: each does one when it is asked.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.contract.invariants import Decoys
from tests.contract.provision_lab import Hub, Lab

LABS = 3


@dataclass(frozen=True)
class Place:
    """A lab with a hub and somebody else's guests, for one trial at a time."""

    lab: Lab
    hub: Hub
    decoys: Decoys
    known: set[str] = field(default_factory=set)  # create tasks of before


Trial = Callable[[Place, Any], list[str]]


class Campaign:
    """Trials and their results: what was not as it must be."""

    def __init__(self, wanted: Iterable[Hashable], trial: Trial, labs: int = LABS) -> None:
        alone = "PYTEST_XDIST_WORKER" not in os.environ
        chosen = list(dict.fromkeys(wanted)) if alone else []
        self.places: queue.SimpleQueue[Place] = queue.SimpleQueue()
        self.labs: list[Lab] = []
        for _ in range(min(labs, len(chosen)) or 1):
            lab = Lab()
            self.labs.append(lab)
            self.places.put(Place(lab, lab.hub("hub"), Decoys.make(lab)))
        self.crew = ThreadPoolExecutor(labs)
        self.trial = trial
        self.results: dict[Hashable, Future[list[str]]] = {one: self.crew.submit(self._one, one) for one in chosen}

    def _one(self, one: Hashable) -> list[str]:
        place = self.places.get()
        try:
            return self.trial(place, one)
        finally:
            self.places.put(place)

    def __getitem__(self, one: Hashable) -> list[str]:
        if one not in self.results:
            self.results[one] = self.crew.submit(self._one, one)
        return self.results[one].result()

    def close(self) -> None:
        """Ends the labs."""
        self.crew.shutdown(cancel_futures=True)
        for lab in self.labs:
            lab.close()


def selected(request: pytest.FixtureRequest, *names: str) -> list[Hashable]:
    """The parameters of those names in the tests of this module that are to be run."""
    here = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    parameters = [item.callspec.params for item in here if hasattr(item, "callspec")]
    return [found[name] for found in parameters for name in names if name in found]
