"""The lab: a real WebSocket service on loopback with switchable defects.

It is what the probe is proved on, so it shares no line with the probe: it imports
nothing else of this package and nothing of this package imports it. It is started as a
process of its own, `python -m probe.lab`, and tells in a ledger what it did and when.
"""
