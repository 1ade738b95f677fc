"""Faults under continuous traffic: for each, what was wrongly passed, wrongly dropped, and lost."""
