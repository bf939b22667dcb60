"""What happens to a request. engine.py is the journey; start there."""
