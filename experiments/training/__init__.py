"""Training runs: the shared loop, a run's files, and several processes."""
