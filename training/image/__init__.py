"""The image model: from product pictures to a network whose embeddings find what looks alike."""
