"""Tools that a model may call.

plan        what tools make of a request: the one entry
choice      which tools may be called, and must be
formats     how models write calls: one row for each form
shown       what the template sees of tools, calls and results
words       the same in plain text, for templates without a place for it
grammar     what the answer is held to
calls       calls, read out of the answer; patterns: what they look for; objects: where JSON ends
"""
