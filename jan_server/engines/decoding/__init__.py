"""Our own loop over a native library: tokens in, evaluated in slots, sampled, spelled.

What it needs of a library is `native.Native`; two engines bring one.
"""
