"""What others recommend by, to compare with on the same clicks: neighbours of sessions, links of items."""
