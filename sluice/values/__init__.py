"""The words of Sluice: plain values and errors, no I/O."""
