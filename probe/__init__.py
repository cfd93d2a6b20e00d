"""An async load and race-condition probe for WebSocket services."""
