"""OpenAI's Responses: requests as chats, and a chat's answer as a response with its events. Pure.

What is kept of them is the business of `jan_server.responses`.
"""
