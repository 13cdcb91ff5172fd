"""What the statistics of `traceview compare` cover, tried on runs whose truth is known.

    python -m simulations        runs everything and writes simulations/README.md

Nothing here is installed. The tables stand in README.md.
"""
