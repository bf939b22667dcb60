"""The console: management API and all else that answers people."""
