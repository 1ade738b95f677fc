"""A fault at every step of an apply in turn: the old or the new is in force afterwards, never a mixture."""
