"""Servers that the probe's matrices are held against: as their libraries have them.

Each lets in who shows a good JWT (HS256, issuer and audience `probe`) as `jwt.<token>` among
the subprotocols or in Authorization, speaks `jwt-auth` and `probe.v2`, and sends every message
back. What is offered, chosen and refused is otherwise left to the library, with its defaults.
Each prints one line when it listens:

    python -m benchmarks.servers.websockets_server PORT --key KEY
"""
