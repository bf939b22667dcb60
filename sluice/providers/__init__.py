"""What we know of vendors, without I/O: how to address them and how to read them."""
