"""Sluice beside other gateways; `scripts/bench --peers` runs it, docs/benchmarks.md explains it."""
