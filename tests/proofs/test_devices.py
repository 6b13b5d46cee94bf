"""One run and many seeds on eight virtual devices: the same figures as on one, and when devices communicate."""

import subprocess
import sys

import pytest
from programs import ROOT


@pytest.mark.slow  # half a minute of compilation
def test_eight_devices_compute_what_one_computes():
    subprocess.run([sys.executable, "-m", "tests.proofs.eight_devices"], cwd=ROOT, check=True, timeout=600)
