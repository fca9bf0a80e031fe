"""Who clicks and who waits for the answer, as processes of their own: they measure and do not disturb."""
