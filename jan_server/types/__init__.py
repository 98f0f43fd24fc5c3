"""The resources, one file each: what a request may say and what an answer holds.

Requests are decoded into these Structs at the edge; `UNSET` is "not sent", `None` is null. Answers
about stored things are the stored JSON objects themselves (`representations.py`): their Structs
here describe the documented fields, for the OpenAPI document.
"""
