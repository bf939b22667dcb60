"""Cloudflare's GraphQL Analytics API as far as roll-ups can tell (contract 8.5). Loaded when it is first asked."""
