"""What was negotiated: requests of the matrix as bytes, answers read, and what they mean."""
