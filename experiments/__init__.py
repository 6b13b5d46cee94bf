"""The researcher's programs: all that prints, reads the clock or writes files."""

import time

BEGAN = time.monotonic()  # when this process loaded the first of the programs' modules
