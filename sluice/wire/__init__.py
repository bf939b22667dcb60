"""Codecs without I/O: bytes to events and back."""
