"""Libraries are imported where they are used: what a fresh interpreter has loaded by then."""

import subprocess
import sys

import pytest

import spikeport
from spikeport.scripts.cli import COMMANDS, main

HEAVY = ("torch", "timm", "torchvision", "matplotlib", "jinja2")

COMMANDS_GIVEN = """
from spikeport.scripts.cli import main
for arguments in {!r}:
    try:
        main(arguments)
    except SystemExit:
        pass
"""

CONVERT = """
import torch
import spikeport as sp
net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()
snn = sp.to_snn(net, [torch.rand(4, 3)], progress=False)
curve = sp.sweep(snn, [torch.rand(4, 3)], [1, 2], progress=False)
"""


def loaded(code: str) -> set[str]:
    """The heavy libraries that the code has imported, in an interpreter of its own."""
    ask = f"\nimport sys\nprint('loaded:', *[name for name in {HEAVY!r} if name in sys.modules])"
    command = [sys.executable, "-c", code + ask]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_package_needs_nothing_heavy():
    assert loaded("import spikeport") == set()


def test_list_of_commands_needs_nothing_heavy():
    given = [["--help"], ["--version"], ["no-such-command"], []]
    assert loaded(COMMANDS_GIVEN.format(given)) == set()


def test_help_of_the_commands_needs_torch_alone():
    given = [[command, "--help"] for command in COMMANDS]
    assert loaded(COMMANDS_GIVEN.format(given)) == {"torch"}


def test_model_of_the_user_needs_no_model_zoo_and_no_plot():
    assert loaded(CONVERT) == {"torch"}


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"spikeport {spikeport.__version__}\n"


def test_every_command_is_in_the_list(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"  {command} " in text for command in COMMANDS)
