"""The container image at work."""
