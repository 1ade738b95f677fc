"""The kernel's BPF objects from Python: the system call, pinned maps and programs, the child that builds."""
