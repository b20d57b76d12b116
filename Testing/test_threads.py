"""Waiting threads give their core away, in every process that computes, unless its user has said otherwise."""

import os
import subprocess
import sys

import pytest

from LeFusionLib.threads import SPINS, wait_politely


@pytest.mark.parametrize("said", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_what_the_user_said_stays(said):
    environment = dict(said)
    wait_politely(environment)
    assert environment == said


def test_else_they_spin_for_a_short_time():
    environment = {"OMP_NUM_THREADS": "2"}
    wait_politely(environment)
    assert environment == {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": SPINS}


@pytest.mark.parametrize(
    "start",
    [
        "import LeFusionLib.cli as cli; cli.main(['models', '--quiet'])",
        "import LeFusionLib.worker as w; w.Worker.serve = lambda self: None;"
        " import sys; sys.argv = ['worker']; w.main(); import os; sys.stdout = os.fdopen(1, 'w')",
    ],
)
def test_it_is_said_before_torch_comes(start):
    code = f"{start}; import os, sys; assert 'torch' not in sys.modules; sys.stderr.write(os.environ['GOMP_SPINCOUNT'])"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr.endswith(SPINS), done.stderr
