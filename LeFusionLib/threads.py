"""How threads of a network wait for each other on a processor. Must be said before torch is imported."""

import os
from collections.abc import MutableMapping

SPINS = "10000"  # measured in Testing/Benchmarks/speed.py, part `company`
OWN_WORDS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


def wait_politely(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let threads that wait give their core away soon. GNU's OpenMP lets them spin for milliseconds, and they wait for
    each other hundreds of times in a network evaluation: where other programs want the cores too, most of the time goes
    by spinning (docs/benchmarks). What the user has said in the environment stays."""
    if not any(name in environment for name in OWN_WORDS):
        environment["GOMP_SPINCOUNT"] = SPINS
