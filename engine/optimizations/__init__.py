"""One optimisation, one module: `apply(target, ...)` switches it on, `evidence(...)` proves it.

Off, `apply` returns its target untouched. The order in which they are applied stands in `engine.load.STEPS`.
"""
