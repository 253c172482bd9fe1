"""Tables in files and memory: reading with good errors, streaming, writing whole or not at all."""
