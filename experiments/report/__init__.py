"""What people see of runs and comparisons, shared by all programs: console output, figures and HTML pages."""
