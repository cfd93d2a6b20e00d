"""A judged run as data for other programs: metrics of the whole, a row for each client.

The rule: pure views. What the fitness of the probe vetoes is left out and never written as if
it had been measured; names carry their unit, and k6's name is used where k6 means the same.
"""
