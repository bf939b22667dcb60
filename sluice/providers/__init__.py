"""What we know of vendors: how to address, sign for, read and price them. No I/O."""
