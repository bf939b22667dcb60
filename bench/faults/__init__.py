"""The stream-fault scoreboard: what clients see and logs say when a provider fails, and whether both are true."""
