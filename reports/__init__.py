"""The paper: result records, published numbers, aggregate scores, tables and figures."""
