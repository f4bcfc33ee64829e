"""How a benchmark's question becomes an answer, and the answer a scored item."""
