"""The console command `mnistsum`, which uses trained networks, and all code that prints or serves a page."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")  # for every page
