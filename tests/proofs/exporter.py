"""Exports two networks over each other repeatedly, until it is killed: for test_export."""

import itertools
import sys
from pathlib import Path

import jax

from mnistsum.app.export import export
from mnistsum.app.options import Export

jax.config.update("jax_disable_most_optimizations", True)

if __name__ == "__main__":
    runs, output = sys.argv[1:3], Path(sys.argv[3])
    for run in itertools.cycle(runs):
        export(Export(run, to="safetensors", output=output))
