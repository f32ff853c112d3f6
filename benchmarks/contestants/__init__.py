"""The servers that are compared with this one, each written as its users would write it."""
