"""What operators ask for, with a key of the scope admin."""
