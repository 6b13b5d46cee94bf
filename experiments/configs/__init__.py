"""Configs, one per file, whose docstring states claim, result, command and cost."""
