"""Studies: a folder for each question, with its program, its data and its pages."""
