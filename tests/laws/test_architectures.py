"""Every verb on architectures of timm and torchvision.

In the default run each does the verbs that most depend on the architecture, and a quarter of the
others; together they do all. The slow run does everything on all, also on wider ones.
"""

import pytest
from architectures import FAST, SLOW, converted
from open_faults import known
from verbs import VERBS, violations

ALWAYS = ("analog", "backend auto", "sweep", "cost", "save and load", "pickling")
OTHERS = [name for name in VERBS if name not in ALWAYS]


def unknown_violations(name, only):
    found = violations(*converted(name), only=only)
    return [one.message for one in found if not known(one.kind)]


@pytest.mark.parametrize("name", FAST)
def test_whatever_converts_does_everything(name):
    share = OTHERS[list(FAST).index(name) % 4 :: 4]
    assert not unknown_violations(name, [*ALWAYS, *share])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAST, *SLOW])
def test_all_verbs(name):
    assert not unknown_violations(name, list(VERBS))
