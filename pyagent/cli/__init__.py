"""``hepctl``: the command line. Every verb is a module of its own, imported only when it is called."""
