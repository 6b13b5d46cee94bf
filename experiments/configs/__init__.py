"""The published configs, one per file.

Each docstring states claim, result, command and cost.
"""
