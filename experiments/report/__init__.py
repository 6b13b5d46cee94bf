"""Output of runs and comparisons for people, shared by all programs: console output, figures and HTML pages."""
