"""The top floor: tasks, scoring, result records and what people read. It may use both floors below."""
