"""The types of requests and responses over HTTP."""
