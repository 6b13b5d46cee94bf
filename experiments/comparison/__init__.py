"""Comparisons of finished runs: numbers, verdicts, tables, figures and a page."""
