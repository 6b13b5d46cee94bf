"""Comparisons: what is trained for them, and numbers, verdicts, tables and a page."""
