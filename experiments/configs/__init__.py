"""Configs, a file each: its docstring holds claim, result, command and cost."""
