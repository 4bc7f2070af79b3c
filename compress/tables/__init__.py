"""Tables of examples, in every usual format: columns, labels, pictures, and what the data card says of them."""
