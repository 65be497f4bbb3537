"""What a native call costs, and what happens on a bad day, beside what you would use instead."""
