"""Every fault between aihub and Proxmox is survived: it is said what happened, and one more run finishes the work.

The scenarios are data (fault_cases*.py); faults.py goes through one. Each fault is also tried on a product that was
weakened for it (weakened.py), which must not survive: a test that cannot fail proves nothing.
"""

from __future__ import annotations

import pytest

from tests.contract.campaign import Campaign, selected
from tests.contract.fault_cases import OF_CHANGES
from tests.contract.fault_cases_api import OF_THE_WAY
from tests.contract.fault_table import Table, table
from tests.contract.faults import Weakened, run_case

__all__ = ["table"]
pytestmark = pytest.mark.slow

CASES = [*OF_CHANGES, *OF_THE_WAY]
# The slow ones first: the labs are busy to the end.
CASES.sort(key=lambda case: case.fault not in ("Ctrl-C", "a lock held by another task", "token revoked half-way"))


@pytest.fixture(scope="module")
def campaign(request):
    """All scenarios whose tests were selected."""
    found = Campaign(selected(request, "case", "weak"), run_case, labs=5)  # most of it is waiting
    yield found
    found.close()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_fault_is_survived(campaign, table: Table, case):
    wrong = campaign[case]
    table.tried(case.fault, wrong)
    assert not wrong


@pytest.mark.parametrize("weak", [Weakened(case) for case in CASES if case.weakening], ids=str)
def test_a_weakened_product_does_not_survive(campaign, table: Table, weak):
    wrong = campaign[weak]
    assert wrong, "the fault breaks nothing: the test would not see a defect either"
    table.seen_to_fail(weak.case.fault, weak.case.weakening, wrong)


def test_every_fault_has_its_weakening():
    assert {case.fault for case in CASES} == {case.fault for case in CASES if case.weakening}
