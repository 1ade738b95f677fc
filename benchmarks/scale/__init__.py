"""What thousands of nodes cost: ``make bench-scale``."""
