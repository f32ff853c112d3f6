"""What can be served, from where, in which precision; and the model that ships with the code."""
