"""Daemons in virtual time, on a source, a destination and a line that do what real ones do at their worst."""
