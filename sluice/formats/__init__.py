"""Formats of bodies: event streams, content encodings, the words in a reply. No I/O."""
