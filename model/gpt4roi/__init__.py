"""GPT4RoI (arXiv 2307.03601) as a Hugging Face model: configuration, vision, region encoder, language model, processor."""
