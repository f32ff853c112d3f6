"""The simulation of load: a real deployment under it, and fleets on paper."""
