"""The tests on Debian's kernels, booted in QEMU on this machine's files: ``python -m tests.vm 6.1``."""
