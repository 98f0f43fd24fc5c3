"""Starlette without Jan: what an API needs of HTTP, whatever its resources are.

paths routing       which function answers which path, ids taken from the raw path
requests responses  JSON in and out, typed
sse ndjson          a stream of events, or of lines, as one answer
errors              the only translator of errors to HTTP
security cors       who may call from a browser, and under which host name
openapi docs_page   the route table as a document, and the page that shows it
stack               all of it around one router, in the right order
"""
