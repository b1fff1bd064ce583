"""What reads people's texts: a small analyser of our own, and any model with OpenAI's interface."""
