"""Would the tests notice? Deliberate faults in compiler and program, one at a time: ``make mutation``."""
