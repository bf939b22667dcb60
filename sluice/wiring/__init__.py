"""Builds each process from its Settings, bottom up, a file per role: a worker carries nothing of the console."""
