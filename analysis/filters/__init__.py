"""The dynamic layers of a trained run: pictures of what they decide and the numbers to judge them by."""
