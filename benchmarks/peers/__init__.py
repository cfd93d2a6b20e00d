"""The probe beside the load tools people have: k6, Artillery, Locust, Tsung, and three libraries.

`python -m benchmarks.peers.run` puts the same four works to each and prints tables. Loopback only;
what a tool needs is installed into `.venv/.peers`, and what cannot be had is left out by name.
"""
