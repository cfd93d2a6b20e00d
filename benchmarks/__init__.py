"""Measures WebSocket clients on one core against a C server on another.

`python -m benchmarks.run` builds the server, runs every client in its own process and prints the
tables. Loopback only: nothing here opens a connection to another machine.
"""
