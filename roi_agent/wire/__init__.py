"""Every type that goes over HTTP."""
