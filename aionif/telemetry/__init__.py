"""What operators see. Nothing here runs when a call succeeds."""
