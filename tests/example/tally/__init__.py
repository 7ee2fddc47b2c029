"""Tally: the folder of a new platform."""
