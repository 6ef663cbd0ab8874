"""The models that a user holds: what they find, and how well."""
