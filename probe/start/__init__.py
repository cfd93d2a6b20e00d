"""The start with a service of one's own: try it for real, and write the files that a run takes."""
