"""Studies: programs and networks that a table under results/ was made with, and that nothing else needs."""
