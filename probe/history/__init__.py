"""What happened: rows, the bounded writer, the columns over what was written."""
