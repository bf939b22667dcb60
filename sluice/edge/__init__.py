"""The worker: traffic in and out. server.py is where to start reading."""
