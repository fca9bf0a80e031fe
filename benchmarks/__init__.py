"""What nextclick is measured by; each benchmark is a module with a ``make bench-…`` target. See README.md."""
