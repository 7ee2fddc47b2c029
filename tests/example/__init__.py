"""A tiny platform of our own making, to prove what a new one costs: a folder, a line in the table, a golden folder."""
