"""What people read: made from result records alone, never from embeddings or models."""
