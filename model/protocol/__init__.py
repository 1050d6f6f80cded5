"""What a region model is: questions and conversations about regions in, answers out.  No torch."""
