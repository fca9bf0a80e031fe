"""What a session means: items in, query vector out."""
