"""Laws of putting off the search for garbage: it is off within, and afterwards what it was, however the work ended."""

from __future__ import annotations

import gc

import pytest

from compress.garbage import uncollected


@pytest.mark.parametrize("before", [True, False])
def test_it_is_off_within_and_afterwards_as_it_was(before: bool):
    was_on = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(ValueError, match="it broke"), uncollected():
            assert not gc.isenabled()
            raise ValueError("it broke")
        assert gc.isenabled() == before
    finally:
        (gc.enable if was_on else gc.disable)()
