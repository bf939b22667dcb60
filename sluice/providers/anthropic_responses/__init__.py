"""OpenAI's responses put into the shape of Anthropic's messages, and messages into that of responses."""
