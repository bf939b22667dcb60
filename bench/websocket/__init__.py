"""The universal WebSocket under load, beside the same requests over HTTP."""
