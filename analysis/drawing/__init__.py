"""How figures of runs and pictures of filters are drawn: style, sheets, files, names beside points."""
