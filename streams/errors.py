"""The one base of errors whose text is meant for the person at the terminal."""


class NextclickError(Exception):
    """Something a user can mend: its text says what was expected, what came and what to do."""
