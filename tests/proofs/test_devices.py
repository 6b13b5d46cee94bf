"""Seeds spread over eight virtual devices take the same steps as each does alone."""

import subprocess
import sys

import pytest
from programs import ROOT


@pytest.mark.slow  # half a minute of compilation
def test_seeds_on_eight_devices_take_the_steps_of_each_alone():
    subprocess.run(
        [sys.executable, "-m", "tests.proofs.eight_devices"],
        cwd=ROOT,
        check=True,
        timeout=600,
    )
