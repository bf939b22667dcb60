"""OpenAI's chat completions put into Bedrock's Converse, and its replies back (contract A.1, A.2)."""
