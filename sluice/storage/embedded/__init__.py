"""Stores that need no server: SQLite files and plain files in the data folder."""
