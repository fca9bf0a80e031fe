"""What lies near: query vector in, rows out."""
