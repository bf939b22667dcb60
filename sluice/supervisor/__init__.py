"""The process that starts, watches, drains and replaces all others. Plain synchronous code, small in memory."""
