"""Training runs: the shared loop, a run's files, signals, and several processes."""
