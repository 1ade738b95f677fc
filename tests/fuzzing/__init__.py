"""Coverage-guided fuzzing of everything that reads what a user wrote, and the inputs it starts from."""
