"""The researcher's programs: what trains, measures and compares."""

import time

BEGAN = time.monotonic()  # when this process loaded the first of the programs' modules
