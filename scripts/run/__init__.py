"""The application layer: what every command needs around the libraries, and a notebook may import."""
