"""The interface of a region model: questions and conversations about regions in, answers out.  No torch."""
