"""Training runs: the shared loop, the files that it writes, signals, and runs in several processes."""
