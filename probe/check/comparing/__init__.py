"""Comparing runs: what a run has to be compared by, what two of them have in common, the rows."""
