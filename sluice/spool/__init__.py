"""The durable hand-over from workers to the keeper: frames in files, large bodies in side files."""
