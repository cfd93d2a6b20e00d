"""One WebSocket connection, stamped phase by phase, that says exactly how it ended."""
