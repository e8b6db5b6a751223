"""A study as one page that opens from disk, and as Markdown: question, answer, tables, curves, pictures, configs."""
