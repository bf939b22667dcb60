"""Sockets to providers, without knowledge of any vendor."""
