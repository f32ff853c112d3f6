"""The native protocol: JSON or a form in; a picture, JSON or an event stream out."""
