"""The backend of one machine: SQLite databases, files and mapped memory in the data folder."""
