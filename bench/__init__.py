"""How fast it is: `python -m bench`, or `make bench`; `python -m bench --only PART` is one part.

Each figure is measured against a peer in the same run, the two taking turns, and is a ratio or a
difference of what one round gave: machines wander, by the hour and by the second, and two figures
of one moment wander together. The median of the rounds counts. One file per part; each has one
function that gives `Figure`s.

The folders that are measured are made for it (`folder.py`), on a disk. A request is sent by
`wire.py` to two servers in turns (`turns.py`): ours, and bare Starlette on Hypercorn (`bare.py`).
What was missed is told with the processor time of an answer, which a busy machine does not change.
"""
