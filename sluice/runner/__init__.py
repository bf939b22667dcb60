"""Jobs: work that goes on beside traffic."""
