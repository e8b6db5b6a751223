"""How a comparison is printed: columns declared once, tables of cells, and a file for each format."""
