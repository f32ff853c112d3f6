"""Host-neutral assembly: settings in; engine, backend, site, metrics and logs out."""
