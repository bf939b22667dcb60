"""Inputs that nobody thought of: against the management API by its own description, and against the codecs."""
