"""The console command `mnistsum`: trained networks used, not trained. What prints, or serves a page, is here."""

from pathlib import Path

STYLE = Path(__file__).with_name("style.css")  # of every page
