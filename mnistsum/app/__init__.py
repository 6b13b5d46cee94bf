"""The command `mnistsum`, which uses trained networks: all code that prints."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")  # for every page
