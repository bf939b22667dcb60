"""The command line: a file per command group, loaded when its command is called."""
