"""One optimisation, one module: `apply(target, ...)` switches it on, `evidence(...)` proves it.

Off, `apply` returns its target untouched. Their order stands in `engine.loading.assemble`.
"""
