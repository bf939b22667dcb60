"""OpenAI's chat completions and Anthropic's messages, each put into the other's shape (contract A.1)."""
