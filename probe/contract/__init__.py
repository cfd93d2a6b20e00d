"""From the bytes of a message to what it says, and whether it keeps the contract."""
