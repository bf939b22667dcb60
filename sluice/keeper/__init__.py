"""The keeper: the one writer of logs."""
