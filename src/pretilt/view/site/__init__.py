"""The viewer: one run as shards of JSON, served by a local server or written as a folder that opens from disk."""
