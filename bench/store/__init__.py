"""`scripts/bench --store N`: a log store of N logs, made by the keeper, and what it costs to write, read and empty."""
