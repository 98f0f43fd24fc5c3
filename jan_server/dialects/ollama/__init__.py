"""Ollama's API: requests, answers line by line, and what it tells of models."""
