"""An hour of ordinary traffic, in which nothing may grow."""
