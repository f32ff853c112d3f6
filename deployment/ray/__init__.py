"""The Ray Serve host: the site in front of engines in other processes, on one machine or many."""
