"""How samples are taken: worker processes, blocks, revisions."""
