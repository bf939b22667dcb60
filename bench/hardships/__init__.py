"""Hardships of the machine that a gateway must bear: what is promised of each is in docs/hardships.md."""
