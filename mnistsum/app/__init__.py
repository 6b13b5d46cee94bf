"""The command `mnistsum`, which uses trained networks. The library prints only here."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")  # for every page
