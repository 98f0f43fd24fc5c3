"""Other APIs than OpenAI's chat: their requests become chat completions, and the answers theirs.

    chat        what they have in common: a chat that was translated, asked and read in parts
    anthropic   Messages
    ollama      chat and generate

Each is pure functions and a class that is fed the parts of an answer. None computes anything of its
own: what a chat completion cannot do, they cannot either. For models that another server answers
the chat completion is sent there.
"""
