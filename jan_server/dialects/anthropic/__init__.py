"""Anthropic's Messages: requests, answers with their streams, errors."""
