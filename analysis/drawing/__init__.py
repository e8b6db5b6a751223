"""What figures and pictures of filters share: one style, sheets to draw on, files."""
