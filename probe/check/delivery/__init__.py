"""Delivery: which events of runs came to whom, which did not, and what is sure of it."""
