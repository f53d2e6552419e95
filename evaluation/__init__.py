"""The protocols that models are measured by; none is built yet."""
