"""A file per resource of the management API (contract section 9)."""
