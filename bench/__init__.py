"""How fast it is: `python -m bench`, or `make bench`.

Each figure is measured against a peer in the same run, the two taking turns, and is a ratio or a
difference of what one round gave: machines wander, by the hour and by the second, and two figures
of one moment wander together. The median of the rounds counts. One file per figure; each has one
function that gives `Figure`s.
"""
