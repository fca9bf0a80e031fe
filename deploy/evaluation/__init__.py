"""What ``nextclick evaluate`` does: methods, comparison, replay, tables and pictures."""
