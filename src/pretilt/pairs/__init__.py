"""Any preference dataset, read into one schema: pairs of messages, then the exact tokens the trainer trains on."""
