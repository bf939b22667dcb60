"""Sluice: a self-hosted AI gateway. docs/life-of-a-request.md is the way in."""

__version__ = "0.1.0"
