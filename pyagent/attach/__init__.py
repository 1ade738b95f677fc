"""Where programs meet interfaces: what interfaces there are, and putting programs on them; netlink's home.

Everything here works in the network namespace of the calling thread and blocks, except :mod:`.events`:
call it from a thread (``asyncio.to_thread``), not inside a running event loop.
"""
