"""What clients see: request and response schemas, errors, protocol adapters."""
