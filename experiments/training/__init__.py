"""Training runs: the one loop, what it leaves in a run's folder, signals, and several processes."""
