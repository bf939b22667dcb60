"""Clients and providers that mean ill, by the hundred thousand, against a real gateway: `scripts/soak abuse`."""
