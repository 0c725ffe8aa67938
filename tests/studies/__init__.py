"""Studies: what is measured now and then, and that no verdict needs. `nox -s study -- NAME` runs one."""
