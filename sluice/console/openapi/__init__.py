"""The management API described as OpenAPI 3.1 has it, out of the table of paths and the types of its handlers."""
