"""The process that answers people: management REST over unix sockets. app.py holds the table of its paths."""
