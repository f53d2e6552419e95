"""The models that come with the program, each with a model card beside it."""
