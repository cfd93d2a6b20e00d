"""Tokens: minted, fetched or read, one identity for each client, never shared by accident."""
