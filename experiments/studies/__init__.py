"""Studies: programs and networks behind the tables under results/, which nothing else needs."""
