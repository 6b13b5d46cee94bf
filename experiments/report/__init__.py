"""Output for people: what programs print, figures and HTML pages."""
