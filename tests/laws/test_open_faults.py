"""The list of known faults only shrinks."""

import re

import pytest
from architectures import converted
from cut_down import failures
from open_faults import OPEN
from random_networks import random_program
from verbs import VERBS, violations


@pytest.mark.parametrize("fault", OPEN, ids=lambda fault: fault.pattern)
def test_an_open_fault_is_still_there(fault):
    """Mended? Then take its line out of ``open_faults.py``."""
    if isinstance(fault.example, str):
        verbs = [name for name in VERBS if name in fault.pattern]
        found = violations(*converted(fault.example), only=verbs)
    else:
        found = failures(random_program(fault.example))
    kinds = [one.kind for one in found]
    assert any(re.search(fault.pattern, kind) for kind in kinds), kinds
