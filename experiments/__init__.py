"""The researcher's programs, run from a checkout: everything that prints, reads the clock or writes files."""
