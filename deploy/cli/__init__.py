"""The ``nextclick`` command, one module per subcommand."""
