"""Looking into a node's kernel: what its maps hold, in words. Needs neither the datastore nor the agent."""
