"""Measures Sluice beside nginx and the prototype; `scripts/bench` runs it, docs/performance.md explains it."""
