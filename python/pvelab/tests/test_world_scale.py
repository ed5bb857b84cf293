"""A lab that does not fit this machine is refused before anything is made."""

import pytest
from pvelab.world.errors import LabError
from pvelab.world.scale import GIB, decide


def test_a_factor_that_fits_is_kept() -> None:
    assert decide(128 * GIB, 8, 24 * GIB).factor == 8


def test_a_factor_that_is_too_small_is_refused_with_what_it_would_take() -> None:
    with pytest.raises(LabError) as caught:
        decide(128 * GIB, 4, 24 * GIB)
    assert "scale 6 or more" in caught.value.hint
    assert "34 GiB" in caught.value.hint


def test_without_a_factor_the_smallest_that_fits_is_taken() -> None:
    assert decide(128 * GIB, None, 24 * GIB).factor == 6
    assert decide(8 * GIB, None, 24 * GIB).factor == 1


def test_a_machine_without_memory_for_any_lab_is_refused() -> None:
    with pytest.raises(LabError, match="needs more than"):
        decide(GIB, None, GIB)


def test_a_machine_too_small_for_what_the_guests_need_is_refused() -> None:
    assert decide(128 * GIB, None, 24 * GIB, least=22 * GIB).factor == 6
    with pytest.raises(LabError, match=r"the guests need 23\.0 GiB at least") as caught:
        decide(128 * GIB, None, 24 * GIB, least=23 * GIB)
    assert "25 GiB" in caught.value.hint
