"""A hint leads somewhere: no plan ends with the advice to plan."""

from __future__ import annotations

from typing import Any

import pytest
from aihub.errors import Conflict, HubError
from aihub.options import Options
from aihub.verbs import plan


@pytest.mark.parametrize(("hint", "led"), [("aihub plan", plan.FURTHER), ("aihub trust", "aihub trust"), ("", "")])
def test_an_error_of_a_plan_leads_further_and_not_back_to_it(
    monkeypatch: pytest.MonkeyPatch, hint: str, led: str
) -> None:
    class Opened:
        hub = None

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None: ...

    def refuse(*_: Any) -> None:
        raise Conflict("VMID 110 is somebody's", hint=hint)

    monkeypatch.setattr(plan, "opened", lambda *_, **__: Opened())
    monkeypatch.setattr(plan, "perform", refuse)
    monkeypatch.setattr(plan.choice, "of", lambda *_: None)
    with pytest.raises(HubError) as found:
        plan.run(Options())
    assert found.value.hint == led
